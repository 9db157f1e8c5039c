"""Webhook endpoints of the caller's tenant, and the log of what was delivered to them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StringConstraints

from infra.api.access import allowed
from infra.api.cursors import behind, cut
from infra.api.idempotency import once
from infra.api.problems import documented
from infra.api.strict import Body
from infra.pipeline.endpoints import (
    NewSecret,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    find_endpoint,
    list_endpoints,
    rotate_callback_secret,
    rotate_secret,
)
from infra.pipeline.webhooks import find_delivery, list_deliveries, ping, replay, replay_failed
from infra.wiring import services
from shared.addresses import MAX_URL_CHARACTERS
from shared.keys import Principal
from shared.webhooks import EVENT_TYPES, MAX_ENDPOINTS, MAX_HEADERS, Attempt, Delivery, DeliveryState, Endpoint

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=documented(400, 401, 403, 429, 503))

MAY_READ = allowed("webhooks:read")
MAY_WRITE = allowed("webhooks:write")
MAX_GRACE_S = 7 * 24 * 3600.0
_DAY_S = 24 * 3600.0

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        description="Of https, leading to a public address. It is not redirected.",
        examples=["https://example.com/hooks/earwitness"],
    ),
]
Description = Annotated[str, Field(max_length=200, description="Your word for it.")]
Events = Annotated[
    list[Annotated[str, StringConstraints(max_length=64)]],
    Field(
        max_length=50,
        description=f"What it is told of: {', '.join(EVENT_TYPES)}; job.* and the like; everything if empty.",
        examples=[["job.completed", "job.failed"]],
    ),
]
Headers = Annotated[
    dict[Annotated[str, StringConstraints(max_length=100)], Annotated[str, StringConstraints(max_length=1000)]],
    Field(
        max_length=MAX_HEADERS,
        description="Sent along with each delivery, such as a token that your platform wants. Never shown again.",
        examples=[{"x-vercel-protection-bypass": "your-own-secret"}],
    ),
]
Payload = Annotated[
    Literal["thin", "full"],
    Field(description="What a delivery says: which event of which job, or also the event's data and the job itself."),
]
WebhookId = Annotated[str, Path(max_length=100)]
DeliveryId = Annotated[str, Path(max_length=100)]


class CreateWebhook(Body):
    """An endpoint that is to be made."""

    url: Url
    description: Description = ""
    events: Events = Field(default_factory=list)
    headers: Headers = Field(default_factory=dict)
    payload: Payload = "thin"
    is_enabled: bool = True


class ChangeWebhook(Body):
    """What is to be different; what is left out stays."""

    url: Url | None = None
    description: Description | None = None
    events: Events | None = None
    headers: Headers | None = None
    payload: Payload | None = None
    is_enabled: bool | None = Field(default=None, description="With true, a paused endpoint goes on.")


class RotateSecret(Body):
    """How a secret is rotated."""

    grace_s: float = Field(
        default=_DAY_S, ge=0, le=MAX_GRACE_S, description="How long deliveries are signed with the old one too."
    )


class WebhookView(BaseModel):
    """An endpoint, without its secrets."""

    webhook_id: str
    url: str
    description: str
    events: list[str]
    header_names: list[str]
    payload: Literal["thin", "full"]
    is_enabled: bool
    secrets: int = Field(description="How many sign each delivery now.")
    created_at: datetime
    failing_since: datetime | None = Field(description="When it began to take nothing.")
    paused_at: datetime | None = Field(description="When it was paused because it took nothing for too long.")
    paused_because: str


class WithSecret(BaseModel):
    """An endpoint, and its newest secret, which is told this once."""

    webhook: WebhookView
    secret: str = Field(description="whsec_…; verify deliveries with a library of Standard Webhooks.")


class CallbackSecret(BaseModel):
    """The newest secret of your jobs' callbacks, which is told this once."""

    secret: str


class WebhookPage(BaseModel):
    """Endpoints, newest first."""

    data: list[WebhookView]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


class DeliveryView(BaseModel):
    """An event on its way to an endpoint."""

    delivery_id: str = Field(description="Also the webhook-id that the endpoint sees, the same at each attempt.")
    webhook_id: str
    event_id: str
    type: str
    job_id: str
    state: DeliveryState
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt] = Field(description="The latest twenty, oldest first.")


class DeliveryPage(BaseModel):
    """Deliveries, newest event first."""

    data: list[DeliveryView]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


class Replayed(BaseModel):
    """How much is delivered again."""

    deliveries: int


@router.post("", status_code=201, responses=documented(409))
@once(secret=True)
def create(body: CreateWebhook, caller: Annotated[Principal, MAY_WRITE]) -> WithSecret:
    """Have events delivered to a URL of yours, signed after Standard Webhooks."""
    return _with_secret(create_endpoint(services(), caller.tenant_id, actor=caller.key_id, **_fields(body)))


@router.get("")
def page(
    caller: Annotated[Principal, MAY_READ],
    limit: Annotated[int, Query(ge=1, le=100)] = MAX_ENDPOINTS,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> WebhookPage:
    """Endpoints of your tenant, newest first."""
    asked = ("webhooks", caller.tenant_id)
    found = list_endpoints(services(), caller.tenant_id, limit=limit + 1, after=behind(cursor, *asked))
    endpoints, next_cursor = cut(found, limit, lambda endpoint: endpoint.document_id, *asked)
    return WebhookPage(data=[_view(endpoint) for endpoint in endpoints], next_cursor=next_cursor)


@router.post("/callback/rotate", responses=documented(409))
@once(secret=True)
def rotate_callback(body: RotateSecret, caller: Annotated[Principal, MAY_WRITE]) -> CallbackSecret:
    """Give the callbacks of your jobs a secret; those of before sign beside it for a while longer."""
    made = rotate_callback_secret(services(), caller.tenant_id, grace_s=body.grace_s, actor=caller.key_id)
    return CallbackSecret(secret=made.secret)


@router.get("/deliveries/{delivery_id}", responses=documented(404))
def show_delivery(delivery_id: DeliveryId, caller: Annotated[Principal, MAY_READ]) -> DeliveryView:
    """One delivery, also of a callback."""
    return _delivery_view(find_delivery(services(), caller.tenant_id, delivery_id))


@router.post("/deliveries/{delivery_id}/replay", status_code=202, responses=documented(404, 409))
@once()
def replay_one(delivery_id: DeliveryId, caller: Annotated[Principal, MAY_WRITE]) -> DeliveryView:
    """Deliver again, under the same webhook-id."""
    return _delivery_view(replay(services(), caller.tenant_id, delivery_id, actor=caller.key_id))


@router.get("/{webhook_id}", responses=documented(404))
def show(webhook_id: WebhookId, caller: Annotated[Principal, MAY_READ]) -> WebhookView:
    """One endpoint."""
    return _view(find_endpoint(services(), caller.tenant_id, webhook_id))


@router.patch("/{webhook_id}", responses=documented(404))
def change(webhook_id: WebhookId, body: ChangeWebhook, caller: Annotated[Principal, MAY_WRITE]) -> WebhookView:
    """Change an endpoint. Enabled again, it gets events from now on; replay what has failed."""
    return _view(change_endpoint(services(), caller.tenant_id, webhook_id, actor=caller.key_id, **_fields(body)))


@router.delete("/{webhook_id}", status_code=204, responses=documented(404))
def delete(webhook_id: WebhookId, caller: Annotated[Principal, MAY_WRITE]) -> None:
    """Remove an endpoint."""
    delete_endpoint(services(), caller.tenant_id, webhook_id, actor=caller.key_id)


@router.post("/{webhook_id}/rotate", responses=documented(404, 409))
@once(secret=True)
def rotate(webhook_id: WebhookId, body: RotateSecret, caller: Annotated[Principal, MAY_WRITE]) -> WithSecret:
    """Give an endpoint a new secret. Meanwhile each delivery carries a signature by each."""
    made = rotate_secret(services(), caller.tenant_id, webhook_id, grace_s=body.grace_s, actor=caller.key_id)
    return _with_secret(made)


@router.post("/{webhook_id}/ping", status_code=202, responses=documented(404, 409))
@once()
def send_ping(webhook_id: WebhookId, caller: Annotated[Principal, MAY_WRITE]) -> DeliveryView:
    """Deliver a webhook.ping, once, also while the endpoint is paused; its delivery shows how it went."""
    return _delivery_view(ping(services(), caller.tenant_id, webhook_id))


@router.post("/{webhook_id}/replay", status_code=202, responses=documented(404, 409))
@once()
def replay_all(webhook_id: WebhookId, caller: Annotated[Principal, MAY_WRITE]) -> Replayed:
    """Deliver again what has failed, the newest five hundred at a time."""
    return Replayed(deliveries=replay_failed(services(), caller.tenant_id, webhook_id, actor=caller.key_id))


@router.get("/{webhook_id}/deliveries", responses=documented(404))
def deliveries(
    webhook_id: WebhookId,
    caller: Annotated[Principal, MAY_READ],
    state: Annotated[DeliveryState | None, Query(description="Only those.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> DeliveryPage:
    """What was or is to be delivered to an endpoint in the last thirty days."""
    find_endpoint(services(), caller.tenant_id, webhook_id)
    asked = ("deliveries", caller.tenant_id, webhook_id, state)
    after = behind(cursor, *asked)
    found = list_deliveries(services(), caller.tenant_id, webhook_id, state=state, limit=limit + 1, after=after)
    page, next_cursor = cut(found, limit, lambda delivery: delivery.document_id, *asked)
    return DeliveryPage(data=[_delivery_view(delivery) for delivery in page], next_cursor=next_cursor)


def _fields(body: CreateWebhook | ChangeWebhook) -> dict[str, Any]:
    given = {name: getattr(body, name) for name in body.model_fields_set}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }


def _with_secret(made: NewSecret) -> WithSecret:
    return WithSecret(webhook=_view(made.endpoint), secret=made.secret)


def _view(endpoint: Endpoint) -> WebhookView:
    same = ["url", "description", "payload", "is_enabled", "created_at", "failing_since", "paused_at", "paused_because"]
    return WebhookView(
        webhook_id=endpoint.document_id,
        events=list(endpoint.events),
        header_names=sorted(name.lower() for name in endpoint.headers),
        secrets=len(endpoint.signing_secrets(services().clock.now())),
        **{name: getattr(endpoint, name) for name in same},
    )


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        delivery_id=delivery.document_id,
        webhook_id=delivery.endpoint_id,
        next_attempt_at=delivery.not_before if delivery.state is DeliveryState.PENDING else None,
        attempts=list(delivery.attempts),
        **{name: getattr(delivery, name) for name in ("event_id", "type", "job_id", "state", "created_at")},
    )
