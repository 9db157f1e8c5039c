"""Webhook endpoints: who is told, of what, and with which secrets."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from infra.pipeline.audit import OWNER, note
from infra.pipeline.outbox import Stores
from infra.wiring import Services
from shared.addresses import check_url
from shared.errors import PipelineError, of_field
from shared.webhooks import (
    MAX_ENDPOINTS,
    MAX_SECRETS,
    SECRET_BYTES,
    Endpoint,
    Secret,
    callback_endpoint_id,
    check_events,
    check_headers,
    make_secret,
)


@dataclass(frozen=True)
class NewSecret:
    """An endpoint, and its newest secret, which is told this once."""

    endpoint: Endpoint
    secret: str


def create_endpoint(services: Services, tenant_id: str, *, actor: str = OWNER, **fields: Any) -> NewSecret:
    """Make an endpoint of a tenant.

    Args:
        services: Of this process.
        tenant_id: Whose.
        actor: Who asks for it.
        fields: Of :class:`shared.webhooks.Endpoint`: ``url`` and what else its owner chooses.

    Raises:
        PipelineError: ``outbound.refused``, ``request.invalid``, ``webhook.too_many``.
    """
    _check(services, fields)
    if len(list_endpoints(services, tenant_id, limit=MAX_ENDPOINTS)) >= MAX_ENDPOINTS:
        raise PipelineError("webhook.too_many", limit=MAX_ENDPOINTS)
    now = services.clock.now()
    endpoint = Endpoint(
        document_id=f"wh_{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}",
        tenant_id=tenant_id,
        secrets=(_new_secret(),),
        created_at=now,
        **fields,
    )
    services.documents.create(endpoint)
    note(services, tenant_id, actor, "webhook.created", endpoint.document_id)
    return NewSecret(endpoint, endpoint.secrets[0].text)


def find_endpoint(stores: Stores, tenant_id: str, endpoint_id: str) -> Endpoint:
    """An endpoint of a tenant.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    try:
        endpoint = stores.documents.get(Endpoint, endpoint_id)
    except PipelineError as error:
        raise absent_as(error, "webhook.not_found") from error
    if endpoint.tenant_id != tenant_id:
        raise PipelineError("webhook.not_found")
    return endpoint


def chosen_endpoint(stores: Stores, tenant_id: str, endpoint_id: str) -> Endpoint:
    """An endpoint that its owner has made: the one that stands for callbacks has a log and secrets, and nothing else.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    endpoint = find_endpoint(stores, tenant_id, endpoint_id)
    if not endpoint.url:
        raise PipelineError("webhook.not_found")
    return endpoint


def list_endpoints(
    stores: Stores, tenant_id: str, *, limit: int = MAX_ENDPOINTS, after: str | None = None
) -> Sequence[Endpoint]:
    """Endpoints of a tenant, newest first, without the one of its callbacks."""
    found = stores.documents.find(Endpoint, tenant_id=tenant_id, limit=limit, after=after)
    return [endpoint for endpoint in found if endpoint.url]


def change_endpoint(
    services: Services, tenant_id: str, endpoint_id: str, *, actor: str = OWNER, **fields: Any
) -> Endpoint:
    """Change what its owner chooses of an endpoint; one that is enabled is not paused any more.

    Raises:
        PipelineError: As :func:`create_endpoint`, and ``webhook.not_found``.
    """
    _check(services, fields)
    chosen_endpoint(services, tenant_id, endpoint_id)
    if fields.get("is_enabled"):
        fields |= {"paused_at": None, "paused_because": "", "failing_since": None}
    endpoint = _change(services, tenant_id, endpoint_id, lambda endpoint: endpoint.model_copy(update=fields))
    note(services, tenant_id, actor, "webhook.changed", endpoint_id)
    return endpoint


def rotate_secret(
    services: Services, tenant_id: str, endpoint_id: str, *, grace_s: float, actor: str = OWNER
) -> NewSecret:
    """Give an endpoint a new secret; those that it has sign beside it for a while longer.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    now = services.clock.now()
    until, added = now + timedelta(seconds=grace_s), _new_secret()

    def rotate(endpoint: Endpoint) -> Endpoint:
        kept = [
            old.model_copy(update={"expires_at": min(old.expires_at or until, until)})
            for old in endpoint.secrets
            if old.expires_at is None or now < old.expires_at
        ]
        good = [old for old in kept if old.expires_at and now < old.expires_at]
        return endpoint.model_copy(update={"secrets": (added, *good)[:MAX_SECRETS]})

    endpoint = _change(services, tenant_id, endpoint_id, rotate)
    note(services, tenant_id, actor, "webhook.rotated", endpoint_id)
    return NewSecret(endpoint, added.text)


def rotate_callback_secret(services: Services, tenant_id: str, *, grace_s: float, actor: str = OWNER) -> NewSecret:
    """Give the callbacks of a tenant's jobs a new secret."""
    endpoint = callback_endpoint(services, tenant_id)
    return rotate_secret(services, tenant_id, endpoint.document_id, grace_s=grace_s, actor=actor)


def delete_endpoint(services: Services, tenant_id: str, endpoint_id: str, *, actor: str = OWNER) -> None:
    """Remove an endpoint; what is on its way to it fails.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    chosen_endpoint(services, tenant_id, endpoint_id)
    services.documents.delete(Endpoint, endpoint_id)
    note(services, tenant_id, actor, "webhook.deleted", endpoint_id)


def callback_endpoint(stores: Stores, tenant_id: str) -> Endpoint:
    """The endpoint that stands for the callbacks of a tenant's jobs; made when it is first asked for."""
    endpoint = Endpoint(
        document_id=callback_endpoint_id(tenant_id),
        tenant_id=tenant_id,
        url="",
        secrets=(_new_secret(),),
        created_at=stores.clock.now(),
    )
    try:
        stores.documents.create(endpoint)
    except PipelineError as error:
        if error.code != "document.exists":
            raise
        return stores.documents.get(Endpoint, endpoint.document_id)
    return endpoint


def check_webhook_url(services: Services, url: str) -> None:
    """Refuse a URL that no webhook goes to.

    Raises:
        PipelineError: ``outbound.refused``.
    """
    allowed = services.settings.outbound_allow
    check_url(url, allowed)
    # What is on its way is anyone's to read; within networks of one's own that may be no matter.
    if urlsplit(url).scheme != "https" and not allowed:
        raise PipelineError("outbound.refused", "The URL must be one of https.")


def absent_as(error: PipelineError, code: str) -> PipelineError:
    """What is not there, by its own code."""
    return PipelineError(code) if error.code == "document.not_found" else error


def _check(services: Services, fields: dict[str, Any]) -> None:
    if "url" in fields:
        with of_field("url"):
            check_webhook_url(services, fields["url"])
    with of_field("events"):
        check_events(fields.get("events", ()))
    with of_field("headers"):
        check_headers(fields.get("headers", {}))


def _change(stores: Stores, tenant_id: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
    def own(endpoint: Endpoint) -> Endpoint:
        if endpoint.tenant_id != tenant_id:
            raise PipelineError("webhook.not_found")
        return change(endpoint)

    try:
        return stores.documents.update(Endpoint, endpoint_id, own)
    except PipelineError as error:
        raise absent_as(error, "webhook.not_found") from error


def _new_secret() -> Secret:
    return Secret(text=make_secret(secrets.token_bytes(SECRET_BYTES)))
