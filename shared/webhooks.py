"""Webhooks after Standard Webhooks 1.0: who wants to be told of what, and what became of it."""

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field

from shared.documents import Document
from shared.errors import PipelineError
from shared.events import FACTS, Event
from shared.model import Value

PING = "webhook.ping"
PAUSED = "webhook.paused"
# What an endpoint can ask for: every published event of a job, and that another endpoint was paused.
EVENT_TYPES = (*(name for name, fact in FACTS.items() if fact.published), PAUSED)
# What the callback of a job is told.
CALLBACK_TYPES = frozenset({"job.completed", "job.failed", "job.canceled", "job.expired", "media.rejected"})

MAX_ENDPOINTS = 20
MAX_HEADERS = 10
MAX_SECRETS = 5
# Of the log that a delivery carries.
MAX_ATTEMPTS_SHOWN = 20
SECRET_BYTES = 32
# Attempts at once at one endpoint; the events of one job keep their order within one of them.
LANES = 4

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,998}[\x21-\x7e])?", re.ASCII)
# Of the connection, of the body, and our own.
_OUR_HEADERS = frozenset(
    (
        *("host", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "expect", "accept-encoding", "user-agent"),
    )
)
_OUR_PREFIXES = ("content-", "webhook-")


class Secret(Value):
    """What deliveries are signed with.

    Attributes:
        text: ``whsec_`` and the base64 of its bytes.
        expires_at: After a rotation, until when it still signs beside the new one.
    """

    text: str
    expires_at: datetime | None = None


class Endpoint(Document):
    """Where a tenant wants to be told of events.

    Attributes:
        url: Empty for the one that stands for the callbacks of a tenant's jobs, each of which has a URL of its own.
        events: Types, or beginnings of types such as ``job.*``; all if empty.
        secrets: Newest first. Each delivery carries a signature by each that has not expired.
        headers: Sent along; their values are secrets.
        payload: ``thin`` says what happened to which job, ``full`` also how.
        is_enabled: Whether its owner wants it.
        failing_since: When it began to fail, until it takes something again.
        paused_at: When it was paused because it failed for too long.
        paused_because: Why, in a sentence.
        is_pause_told: Whether the tenant's other endpoints were told of that.
    """

    collection: ClassVar[str] = "webhook_endpoints"
    url: str
    description: str = ""
    events: tuple[str, ...] = ()
    secrets: tuple[Secret, ...]
    headers: dict[str, str] = Field(default_factory=dict)
    payload: Literal["thin", "full"] = "thin"
    is_enabled: bool = True
    created_at: datetime
    failing_since: datetime | None = None
    paused_at: datetime | None = None
    paused_because: str = ""
    is_pause_told: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it gets anything."""
        return self.is_enabled and self.paused_at is None

    def wants(self, event_type: str) -> bool:
        """Whether it asked for events of a type."""
        return not self.events or any(
            event_type == wanted or (wanted.endswith(".*") and event_type.startswith(wanted[:-1]))
            for wanted in self.events
        )

    def signing_secrets(self, now: datetime) -> Sequence[str]:
        """Those that are good now."""
        return [secret.text for secret in self.secrets if secret.expires_at is None or now < secret.expires_at]


class Callback(Document):
    """Where the end of a job is told: the whole URL, which may hold a secret. Apps may listen to the job itself.

    Attributes:
        document_id: Of :func:`callback_id`.
        url: As it was given.
    """

    collection: ClassVar[str] = "callbacks"
    url: str


class DeliveryState(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Attempt(Value):
    """One request to an endpoint.

    Attributes:
        status: Of the answer; 0 where there was none.
        error: Why it did not succeed, in a sentence.
    """

    at: datetime
    duration_s: float
    status: int = 0
    error: str = ""


class Delivery(Document):
    """One event on its way to one endpoint.

    ``due_at`` is when ``sweep`` puts it into the queue, should no message for it be there.

    Attributes:
        document_id: Made from the event and the endpoint, so that an event that comes twice is delivered once. It
            is also the ``webhook-id``, which stays the same over all attempts, and sorts by time.
        url: Instead of the endpoint's: a job's callback.
        type: Of the event.
        at: When it happened.
        job_id: Whose event it is; empty for events of webhooks themselves.
        data: What the event says.
        not_before: No attempt is made before: a claim holds it, or a pause between two attempts.
        started_at: When it was first to be delivered, or last to be replayed.
        tries: Attempts since then.
        attempts: The latest, over all times.
    """

    collection: ClassVar[str] = "webhook_deliveries"
    endpoint_id: str
    url: str = ""
    event_id: str
    type: str
    at: datetime
    job_id: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    state: DeliveryState = DeliveryState.PENDING
    created_at: datetime
    started_at: datetime
    not_before: datetime | None
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()

    @property
    def lane(self) -> str:
        """Deliveries of one lane are attempted one after the other: the ordering key of its messages."""
        # Callbacks of a tenant go to one endpoint by name, and to many addresses.
        host = _digest(self.url.partition("://")[2].partition("/")[0])[:8] if self.url else ""
        return f"{self.endpoint_id}{host}-{int(_digest(self.job_id)[:8], 16) % LANES}"

    def body(self, payload: str, job: dict[str, Any] | None) -> dict[str, Any]:
        """What is sent.

        Args:
            payload: ``thin`` or ``full``.
            job: The job as it is now, for a full one.
        """
        data: dict[str, Any] = {"event_id": self.event_id, "tenant_id": self.tenant_id}
        if self.job_id:
            data["job_id"] = self.job_id
        if payload == "full" or not self.job_id:
            data["event"] = self.data
        if payload == "full" and job is not None:
            data["job"] = job
        return {"type": self.type, "timestamp": self.at.isoformat(), "data": data}


class Retries(Value):
    """When a failed delivery is tried again.

    Attributes:
        first_s: The pause after the first attempt; each is four times the one before.
        max_s: The longest.
        for_s: How long after its start a delivery is tried for the last time.
    """

    first_s: float
    max_s: float
    for_s: float

    def next_attempt(
        self, delivery: Delivery, now: datetime, *, jitter: float, asked_s: float = 0.0
    ) -> datetime | None:
        """When to try again; ``None`` when it was tried for long enough.

        Args:
            delivery: With the failed attempt counted.
            now: The time.
            jitter: 0..1, by which the pause is between half of it and one and a half.
            asked_s: How long the endpoint itself asked to be left alone.
        """
        last = delivery.started_at + timedelta(seconds=self.for_s)
        if now >= last:
            return None
        pause_s = min(self.first_s * 4.0 ** min(delivery.tries - 1, 30), self.max_s) * (0.5 + jitter)
        return min(now + timedelta(seconds=max(pause_s, min(asked_s, self.max_s))), last)


def delivery_of(event: Event, endpoint: Endpoint, now: datetime, kept: timedelta, *, url: str = "") -> Delivery:
    """The delivery of a job's event to an endpoint.

    Args:
        event: Of a job.
        endpoint: Who is told.
        now: The time.
        kept: How long the log holds it.
        url: Of a callback.
    """
    return new_delivery(
        endpoint, event.id, event.type, now, kept, at=event.time, job_id=event.jobid, data=event.data, url=url
    )


def new_delivery(
    endpoint: Endpoint,
    event_id: str,
    event_type: str,
    now: datetime,
    kept: timedelta,
    *,
    at: datetime,
    job_id: str = "",
    data: dict[str, Any],
    url: str = "",
) -> Delivery:
    """A delivery that may be attempted at once; see :class:`Delivery`."""
    digest = _digest(f"{event_id} {endpoint.document_id}")
    return Delivery(
        document_id=f"msg_{int(at.timestamp() * 1000):012x}{digest[:20]}",
        tenant_id=endpoint.tenant_id,
        endpoint_id=endpoint.document_id,
        url=url,
        event_id=event_id,
        type=event_type,
        at=at,
        job_id=job_id,
        data=data,
        created_at=now,
        started_at=now,
        not_before=now,
        expires_at=now + kept,
    )


def callback_id(job_id: str) -> str:
    """Id of the document that holds a job's callback."""
    return f"{job_id}.callback"


def callback_endpoint_id(tenant_id: str) -> str:
    """Id of the endpoint that stands for the callbacks of a tenant's jobs."""
    return f"cb_{_digest(tenant_id)[:24]}"


def make_secret(random_bytes: bytes) -> str:
    """A secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(random_bytes).decode()}"


def check_events(events: Sequence[str]) -> None:
    """Refuse what no event is called.

    Raises:
        PipelineError: ``request.invalid``.
    """
    known = {*EVENT_TYPES, *(f"{name.partition('.')[0]}.*" for name in EVENT_TYPES)}
    if unknown := [name for name in events if name not in known]:
        raise PipelineError("request.invalid", f"There is no event '{unknown[0]}'; there are {', '.join(EVENT_TYPES)}.")


def check_headers(headers: dict[str, str]) -> None:
    """Refuse headers that are none, or not the caller's to set.

    Raises:
        PipelineError: ``request.invalid``; never with a value in it.
    """
    for name, value in headers.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise PipelineError("request.invalid", "A header is not one of HTTP, in plain ASCII.")
        if lower in _OUR_HEADERS or lower.startswith(_OUR_PREFIXES):
            raise PipelineError("request.invalid", f"The header '{lower}' cannot be set.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
