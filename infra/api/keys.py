"""API keys of the caller's tenant."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, WithJsonSchema

from infra.api.access import allowed, gate
from infra.api.cursors import behind, cut
from infra.api.idempotency import once
from infra.api.problems import documented
from infra.api.strict import Body
from infra.pipeline.keys import NewKey, create_key, list_keys, revoke_key, rotate_key
from infra.wiring import services
from shared.errors import PipelineError
from shared.keys import DEFAULT_SCOPES, SCOPES, ApiKey, Principal

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=documented(400, 401, 403, 429, 503))

MAY_READ = allowed("keys:read")
MAY_WRITE = allowed("keys:write")
MAX_GRACE_S = 7 * 24 * 3600.0


# A scope that is not there is refused with a list of those that are.
Scope = Annotated[str, WithJsonSchema({"type": "string", "enum": list(SCOPES)})]


class CreateKey(Body):
    """A key that is to be made."""

    name: str = Field(min_length=1, max_length=100, description="Your word for it.")
    scopes: list[Scope] = Field(
        default=list(DEFAULT_SCOPES), min_length=1, max_length=len(SCOPES), description=f"Of {', '.join(SCOPES)}."
    )
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="The deployment's by default, or yours where that is less; never more than yours.",
    )


class RotateKey(Body):
    """How a key is rotated."""

    grace_s: float = Field(default=0.0, ge=0, le=MAX_GRACE_S, description="How long the old token is good beside it.")


class KeyView(BaseModel):
    """A key, without its token."""

    key_id: str
    name: str
    prefix: str = Field(description="How its token begins.")
    scopes: list[str]
    requests_per_minute: int | None
    created_at: datetime
    last_used_at: datetime | None = Field(description="To within a few minutes.")
    revoked_at: datetime | None


class CreatedKey(BaseModel):
    """A key, and its token, which is told this once."""

    key: KeyView
    token: str


class KeyPage(BaseModel):
    """Keys, newest first."""

    data: list[KeyView]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


@router.post("", status_code=201, responses=documented(409))
@once(secret=True)
def create(body: CreateKey, caller: Annotated[Principal, MAY_WRITE]) -> CreatedKey:
    """Make a key. It can be allowed nothing that yours is not, and be used no more often."""
    _check_within(caller, body.scopes, body.requests_per_minute or 0)
    own = caller.requests_per_minute
    made = create_key(
        services(),
        caller.tenant_id,
        body.name,
        scopes=body.scopes,
        requests_per_minute=body.requests_per_minute or (own if own and own < _usual() else None),
        actor=caller.key_id,
    )
    return _created(made)


@router.get("")
def page(
    caller: Annotated[Principal, MAY_READ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> KeyPage:
    """Keys of your tenant, newest first, revoked ones too."""
    asked = ("keys", caller.tenant_id)
    found = list_keys(services(), caller.tenant_id, limit=limit + 1, after=behind(cursor, *asked))
    keys, next_cursor = cut(found, limit, lambda key: key.document_id, *asked)
    return KeyPage(data=[_view(key) for key in keys], next_cursor=next_cursor)


@router.post("/{key_id}/rotate", responses=documented(404, 409))
@once(secret=True)
def rotate(key_id: str, body: RotateKey, caller: Annotated[Principal, MAY_WRITE]) -> CreatedKey:
    """Give a key another token. You get that token, so the key can be allowed nothing that yours is not."""
    made = rotate_key(
        services(),
        caller.tenant_id,
        key_id,
        grace_s=body.grace_s,
        actor=caller.key_id,
        check=lambda key: _check_within(caller, key.scopes, key.requests_per_minute or _usual()),
    )
    gate.forget()
    return _created(made)


@router.delete("/{key_id}", status_code=204, responses=documented(404))
def revoke(key_id: str, caller: Annotated[Principal, MAY_WRITE]) -> None:
    """End a key for good. Other instances of the API may let it in for five seconds more."""
    revoke_key(services(), caller.tenant_id, key_id, actor=caller.key_id)
    gate.forget()


def _check_within(caller: Principal, scopes: Sequence[str], requests_per_minute: int) -> None:
    """Refuse to hand out a key that may do more than the caller's own.

    Raises:
        PipelineError: ``request.forbidden``.
    """
    if beyond := [scope for scope in scopes if scope in SCOPES and scope not in caller.scopes]:
        raise PipelineError("request.forbidden", f"Your key lacks the scope {beyond[0]}.", scope=beyond[0])
    own = caller.requests_per_minute or _usual()
    if caller.key_id and requests_per_minute > own:
        raise PipelineError("request.forbidden", f"Your key itself has {own} requests a minute.", limit=own)


def _usual() -> int:
    return services().settings.requests_per_minute


def _created(made: NewKey) -> CreatedKey:
    return CreatedKey(key=_view(made.key), token=made.token)


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        key_id=key.document_id,
        **{name: getattr(key, name) for name in KeyView.model_fields if name not in ("key_id", "scopes")},
        scopes=list(key.scopes),
    )
