"""Webhook endpoints, and the deliveries that events make: all but the sending."""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from infra.pipeline.audit import OWNER, note
from infra.pipeline.callbacks import callback_url
from infra.pipeline.outbox import Stores
from infra.wiring import Services
from shared.addresses import check_url
from shared.errors import PipelineError, of_field
from shared.events import Event
from shared.webhooks import (
    CALLBACK_TYPES,
    MAX_ENDPOINTS,
    MAX_SECRETS,
    PING,
    SECRET_BYTES,
    Delivery,
    DeliveryState,
    Endpoint,
    Secret,
    callback_endpoint_id,
    check_events,
    check_headers,
    delivery_of,
    make_secret,
    new_delivery,
)

log = logging.getLogger(__name__)

# How long the log of deliveries goes back.
KEPT = timedelta(days=30)
# A message that was put into the queue is there until it is taken; this is for one that was given up all the same.
PUT_AGAIN = timedelta(minutes=15)
# A delivery's id holds the time of its event, so that all of a job's are found in pages of this size.
_PAGE = 100
MAX_REPLAYED = 500


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
        raise _as(error, "webhook.not_found") from error
    if endpoint.tenant_id != tenant_id:
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
    _chosen(services, tenant_id, endpoint_id)
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
    _chosen(services, tenant_id, endpoint_id)
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


def fan_out(services: Services, event: Event) -> None:
    """Make the deliveries of an event, and have each attempted. Safe to repeat.

    Raises:
        PipelineError: A retryable one, so that the event is delivered again.
    """
    now = services.clock.now()
    deliveries = [
        delivery_of(event, endpoint, now, KEPT)
        for endpoint in list_endpoints(services, event.tenantid)
        if endpoint.is_enabled and endpoint.wants(event.type)
    ]
    if event.type in CALLBACK_TYPES and (url := callback_url(services, event.jobid)):
        deliveries.append(delivery_of(event, callback_endpoint(services, event.tenantid), now, KEPT, url=url))
    if event.type == "job.deleted":
        _forget(services, event)
    commit(services, deliveries)


def commit(services: Services, deliveries: Sequence[Delivery]) -> None:
    """Store deliveries, unless they are there, and have each attempted.

    When this was cut off between the two, whoever repeats it puts them into the queue once more, which does no harm.
    """
    for delivery in deliveries:
        try:
            services.documents.create(delivery.model_copy(update={"due_at": services.clock.now() + PUT_AGAIN}))
        except PipelineError as error:
            if error.code != "document.exists":
                raise
    if deliveries:
        services.deliveries.put(deliveries)


def ping(services: Services, tenant_id: str, endpoint_id: str) -> Delivery:
    """Have an endpoint told of nothing, once, even if it is paused.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    endpoint, now = _chosen(services, tenant_id, endpoint_id), services.clock.now()
    event_id = f"{endpoint_id}/{secrets.token_hex(8)}/{PING}"
    delivery = new_delivery(endpoint, event_id, PING, now, KEPT, at=now, data={"webhook_id": endpoint_id})
    commit(services, [delivery])
    return delivery


def find_delivery(stores: Stores, tenant_id: str, delivery_id: str) -> Delivery:
    """A delivery of a tenant.

    Raises:
        PipelineError: ``delivery.not_found``.
    """
    try:
        delivery = stores.documents.get(Delivery, delivery_id)
    except PipelineError as error:
        raise _as(error, "delivery.not_found") from error
    if delivery.tenant_id != tenant_id:
        raise PipelineError("delivery.not_found")
    return delivery


def list_deliveries(
    stores: Stores,
    tenant_id: str,
    endpoint_id: str,
    *,
    state: DeliveryState | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Sequence[Delivery]:
    """The log of an endpoint, newest event first."""
    equal = {"state": str(state)} if state else {}
    return stores.documents.find(
        Delivery, tenant_id=tenant_id, endpoint_id=endpoint_id, limit=limit, after=after, **equal
    )


def replay(services: Services, tenant_id: str, delivery_id: str, *, actor: str = OWNER) -> Delivery:
    """Deliver again, under the same id, as if the event had just come.

    Raises:
        PipelineError: ``delivery.not_found``.
    """
    find_delivery(services, tenant_id, delivery_id)
    replayed = _replay(services, delivery_id)
    note(services, tenant_id, actor, "delivery.replayed", delivery_id)
    return replayed


def replay_failed(services: Services, tenant_id: str, endpoint_id: str, *, actor: str = OWNER) -> int:
    """Deliver again what has failed of an endpoint, the newest five hundred; return how many.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    find_endpoint(services, tenant_id, endpoint_id)
    failed = list_deliveries(services, tenant_id, endpoint_id, state=DeliveryState.FAILED, limit=MAX_REPLAYED)
    wanted = [delivery for delivery in failed if delivery.type != PING]
    for delivery in reversed(wanted):
        _replay(services, delivery.document_id)
    if wanted:
        note(services, tenant_id, actor, "webhook.replayed", endpoint_id)
    return len(wanted)


def put_due(services: Services, *, until: float, limit: int = 200) -> int:
    """Put deliveries into the queue whose next attempt is due; return how many. A part of ``sweep``.

    Args:
        services: Of this process.
        until: When to stop, by ``time.monotonic``.
        limit: How many are put at a time.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    count = 0
    while due := services.documents.due(Delivery, services.clock.now(), limit=limit):
        services.deliveries.put(due)
        again = services.clock.now() + PUT_AGAIN
        for delivery in due:
            _postpone(services, delivery, again)
        count += len(due)
        if len(due) < limit or time.monotonic() >= until:
            break
    return count


def _postpone(services: Services, put: Delivery, again: datetime) -> None:
    def postpone(delivery: Delivery) -> Delivery:
        # An attempt may have been made already.
        return delivery if delivery.due_at != put.due_at else delivery.model_copy(update={"due_at": again})

    try:
        services.documents.update(Delivery, put.document_id, postpone)
    except PipelineError as error:
        if error.code != "document.not_found":  # its time in the log may be over
            raise


def _replay(services: Services, delivery_id: str) -> Delivery:
    now = services.clock.now()
    fresh = {
        "state": DeliveryState.PENDING,
        "started_at": now,
        "not_before": now,
        "tries": 0,
        "due_at": now + PUT_AGAIN,
        "expires_at": now + KEPT,
    }
    replayed = services.documents.update(
        Delivery, delivery_id, lambda delivery: delivery.model_copy(update=dict(fresh))
    )
    services.deliveries.put([replayed])
    return replayed


def _forget(services: Services, event: Event) -> None:
    """Of a job that is deleted the log says that its events were delivered, and not what they said."""
    after: str | None = None
    while page := services.documents.find(
        Delivery, tenant_id=event.tenantid, job_id=event.jobid, limit=_PAGE, after=after
    ):
        for delivery in page:
            after = delivery.document_id
            if delivery.data:
                services.documents.update(Delivery, after, lambda before: before.model_copy(update={"data": {}}))


def _check(services: Services, fields: dict[str, Any]) -> None:
    if "url" in fields:
        with of_field("url"):
            check_webhook_url(services, fields["url"])
    with of_field("events"):
        check_events(fields.get("events", ()))
    with of_field("headers"):
        check_headers(fields.get("headers", {}))


def _chosen(stores: Stores, tenant_id: str, endpoint_id: str) -> Endpoint:
    """An endpoint that its owner has made: the one that stands for callbacks has a log and secrets, and nothing else.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    endpoint = find_endpoint(stores, tenant_id, endpoint_id)
    if not endpoint.url:
        raise PipelineError("webhook.not_found")
    return endpoint


def _change(stores: Stores, tenant_id: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
    def own(endpoint: Endpoint) -> Endpoint:
        if endpoint.tenant_id != tenant_id:
            raise PipelineError("webhook.not_found")
        return change(endpoint)

    try:
        return stores.documents.update(Endpoint, endpoint_id, own)
    except PipelineError as error:
        raise _as(error, "webhook.not_found") from error


def _new_secret() -> Secret:
    return Secret(text=make_secret(secrets.token_bytes(SECRET_BYTES)))


def _as(error: PipelineError, code: str) -> PipelineError:
    """What is not there, by its own code."""
    return PipelineError(code) if error.code == "document.not_found" else error
