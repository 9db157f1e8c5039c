"""Making, using and ending API keys."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.pipeline.audit import OWNER, note
from infra.pipeline.outbox import Stores
from shared.errors import PipelineError
from shared.keys import (
    DEFAULT_SCOPES,
    SCOPES,
    ApiKey,
    Principal,
    check_tenant,
    check_token,
    make_token,
    read_token,
    token_hash,
)

_UNLIMITED = 1_000_000
# A key's last use is written so often at most, and not at each request.
_USE_NOTED_EVERY = timedelta(minutes=5)


@dataclass(frozen=True)
class NewKey:
    """A key, and its token, which is told this once."""

    key: ApiKey
    token: str


def create_key(
    stores: Stores,
    tenant_id: str,
    name: str,
    *,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    requests_per_minute: int | None = None,
    actor: str = OWNER,
) -> NewKey:
    """Make a key of a tenant.

    Raises:
        PipelineError: ``request.invalid`` for a scope that is not known, or what no tenant may be called.
    """
    check_tenant(tenant_id)
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise PipelineError(
            "request.invalid", f"There is no scope '{unknown[0]}'; there are {', '.join(SCOPES)}.", field="scopes"
        )
    now = stores.clock.now()
    key_id = f"key_{int(now.timestamp() * 1000):012x}{secrets.token_hex(4)}"
    token = make_token(key_id, secrets.token_urlsafe(32))
    key = ApiKey(
        document_id=key_id,
        tenant_id=tenant_id,
        name=name,
        token_hash=token_hash(token),
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        requests_per_minute=requests_per_minute,
        created_at=now,
    )
    stores.documents.create(key)
    note(stores, tenant_id, actor, "key.created", key_id)
    return NewKey(key, token)


def owner_token(secret: bytes) -> str:
    """The token of a local cloud's own key, made from its secret: whoever may read its folder may have it."""
    digest = hmac.digest(secret, b"owner's API key", hashlib.sha256)
    return make_token(f"key_{digest.hex()[:20]}", base64.urlsafe_b64encode(digest).decode().rstrip("="))


def keep_owner_key(stores: Stores, tenant_id: str, token: str) -> bool:
    """Make the key that the owner's token is of, unless it is there; whether it was made.

    It is allowed everything, without a limit, until it is revoked.
    """
    now = stores.clock.now()
    try:
        stores.documents.create(
            ApiKey(
                document_id=read_token(token),
                tenant_id=tenant_id,
                name="owner",
                token_hash=token_hash(token),
                scopes=tuple(SCOPES),
                requests_per_minute=_UNLIMITED,
                created_at=now,
            )
        )
    except PipelineError as error:
        if error.code != "document.exists":
            raise
        return False
    return True


def authenticate(stores: Stores, token: str) -> Principal:
    """Whom a token stands for.

    Raises:
        PipelineError: ``request.unauthorized``.
    """
    now = stores.clock.now()
    try:
        key = stores.documents.get(ApiKey, read_token(token))
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        raise PipelineError("request.unauthorized", "There is no such API key.") from error
    principal = check_token(key, token, now)
    if key.last_used_at is None or key.last_used_at + _USE_NOTED_EVERY <= now:
        _note_use(stores, key.document_id, now)
    return principal


def list_keys(stores: Stores, tenant_id: str, *, limit: int = 100, after: str | None = None) -> Sequence[ApiKey]:
    """Keys of a tenant, newest first, revoked ones too."""
    return stores.documents.find(ApiKey, tenant_id=tenant_id, limit=limit, after=after)


def rotate_key(
    stores: Stores,
    tenant_id: str,
    key_id: str,
    *,
    grace_s: float = 0.0,
    actor: str = OWNER,
    check: Callable[[ApiKey], None] = lambda _: None,
) -> NewKey:
    """Give a key another token; the one before is good for a while longer.

    Args:
        stores: Where it is.
        tenant_id: Whose it is.
        key_id: Of the key.
        grace_s: How long the old token is good beside the new one.
        actor: Who asks for it.
        check: Refuses a key that the caller may not have the token of.

    Raises:
        PipelineError: ``key.not_found``, also for another tenant's or a revoked one; what ``check`` raises.
    """
    now = stores.clock.now()
    token = make_token(key_id, secrets.token_urlsafe(32))

    def rotate(key: ApiKey) -> ApiKey:
        check(key)
        return key.model_copy(
            update={
                "token_hash": token_hash(token),
                "previous_hash": key.token_hash,
                "previous_until": now + timedelta(seconds=grace_s),
            }
        )

    key = _change(stores, tenant_id, key_id, rotate)
    note(stores, tenant_id, actor, "key.rotated", key_id)
    return NewKey(key, token)


def revoke_key(stores: Stores, tenant_id: str, key_id: str, *, actor: str = OWNER) -> ApiKey:
    """End a key, at once and for good.

    Raises:
        PipelineError: ``key.not_found``, also for another tenant's or a revoked one.
    """
    now = stores.clock.now()
    key = _change(stores, tenant_id, key_id, lambda key: key.model_copy(update={"revoked_at": now}))
    note(stores, tenant_id, actor, "key.revoked", key_id)
    return key


def _note_use(stores: Stores, key_id: str, now: datetime) -> None:
    stores.documents.update(ApiKey, key_id, lambda key: key.model_copy(update={"last_used_at": now}))


def _change(stores: Stores, tenant_id: str, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
    def own(key: ApiKey) -> ApiKey:
        if key.tenant_id != tenant_id or key.revoked_at is not None:
            raise PipelineError("key.not_found")
        return change(key)

    try:
        return stores.documents.update(ApiKey, key_id, own)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        raise PipelineError("key.not_found") from error
