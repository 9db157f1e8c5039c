"""Ports: what this system needs of the world. Every adapter of one passes the same contract suite.

Any method may raise ``PipelineError("service.unavailable")``, after a bounded time, when its service does not
answer; that is retryable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

from shared.advance import Step
from shared.documents import Document
from shared.errors import ErrorInfo
from shared.events import Event, StageCompleted, StageFailed
from shared.jobs import Job, JobState, Selection
from shared.media import ObjectInfo, ObjectRef, Probe
from shared.requests import SignedRequest, StageRequest
from shared.webhooks import Delivery

D = TypeVar("D", bound=Document)


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Now, in UTC, with its time zone."""
        ...


class JobStore(Protocol):
    """Status documents, and the outbox of events that their changes cause."""

    @property
    def is_near(self) -> bool:
        """Whether reading a job takes no longer than handing that to another thread would."""
        ...

    def create(self, step: Step) -> None:
        """Store a new job and its events in one transaction.

        Raises:
            PipelineError: ``job.exists``.
        """
        ...

    def get(self, job_id: str) -> Job:
        """The job as last committed.

        Raises:
            PipelineError: ``job.not_found``.
        """
        ...

    def update(self, job_id: str, change: Callable[[Job], Step]) -> Step:
        """Apply a pure change as one transaction: no other change comes between its reading and its writing.

        ``change`` may be called several times. A step that holds the job it was given writes nothing. The
        events of the step enter the outbox in the same transaction.

        Raises:
            PipelineError: ``job.not_found``; ``job.conflict`` when contention does not end.
        """
        ...

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        limit: int = 100,
        after: str | None = None,
        down_to: str | None = None,
        of: Selection | None = None,
    ) -> Sequence[Job]:
        """Jobs by id, newest first (ids sort by time).

        Args:
            states: Which they are in; any if left out.
            limit: Of how many.
            after: Goes on behind this id.
            down_to: The last id that may be among them; needs ``of``.
            of: Whose and which; everyone's if left out.
        """
        ...

    def count(self, *states: JobState, tenant_id: str | None = None, limit: int = 10_000) -> int:
        """How many jobs are in these states, of a tenant or of all; nobody counts further than ``limit``."""
        ...

    def unpublished(self, *, limit: int = 100, job_id: str | None = None) -> Sequence[Event]:
        """Events of the outbox, in the order of their commits."""
        ...

    def mark_published(self, event_ids: Iterable[str]) -> None:
        """Take events out of the outbox. Unknown ids are no error."""
        ...

    def erase_history(self, job_id: str) -> None:
        """Remove what is kept of a job's published events. Unknown jobs are no error."""
        ...

    def bookmark(self, name: str) -> str | None:
        """Where a walk through the jobs goes on that was broken off: behind this id; ``None`` for at its beginning."""
        ...

    def set_bookmark(self, name: str, job_id: str | None) -> None:
        """Keep where a walk was broken off, or that it came to its end."""
        ...


class DocumentStore(Protocol):
    """Small documents by collection and id."""

    def create(self, document: Document) -> None:
        """Store a new document.

        Raises:
            PipelineError: ``document.exists``.
        """
        ...

    def get(self, kind: type[D], document_id: str) -> D:
        """A document as last committed.

        Raises:
            PipelineError: ``document.not_found``.
        """
        ...

    def update(self, kind: type[D], document_id: str, change: Callable[[D], D]) -> D:
        """Apply a pure change as one transaction; return what is there then.

        ``change`` may be called several times. What it returns as it was given is not written.

        Raises:
            PipelineError: ``document.not_found``; ``document.conflict`` when contention does not end.
        """
        ...

    def delete(self, kind: type[D], document_id: str) -> None:
        """Remove a document; one that is not there is no error."""
        ...

    def find(self, kind: type[D], *, limit: int = 100, after: str | None = None, **equal: str) -> Sequence[D]:
        """Documents whose fields equal what is given, newest id first; ``after`` goes on behind an id."""
        ...

    def due(self, kind: type[D], now: datetime, *, limit: int = 100) -> Sequence[D]:
        """Documents whose ``due_at`` has come, longest due first."""
        ...

    def purge(self, now: datetime, /) -> int:
        """Remove what has expired, where the service does not do so by itself; return how many."""
        ...


class EventBus(Protocol):
    """The topic ``events``: delivers each event at least once to each subscriber, in order within one job."""

    def publish(self, events: Sequence[Event]) -> None:
        """Hand events over; on return they are durable."""
        ...


@dataclass(frozen=True)
class Waiting:
    """Messages that a subscriber has not taken yet.

    Attributes:
        depth: How many.
        oldest_s: For how long the oldest has been waiting.
    """

    depth: int
    oldest_s: float


@runtime_checkable
class Queue(Protocol):
    """An event bus that can tell what waits in it. Pub/Sub's tells that to Cloud Monitoring alone."""

    def waiting(self) -> Mapping[str, Waiting]:
        """What waits, by subscription."""
        ...


class DeliveryQueue(Protocol):
    """Webhook deliveries that wait for an attempt: at least once each, one after the other within a lane."""

    def put(self, deliveries: Sequence[Delivery], /) -> None:
        """Have each attempted by ``notify``; on return that is durable."""
        ...


@dataclass(frozen=True)
class DeadLetter:
    """A message that was given up, because its subscriber never took it.

    Attributes:
        id: Its name among dead letters.
        subscription: Who would not take it.
        event_id: Of the event that it holds; empty where it holds none.
        attempts: How often it was delivered.
        last_error: Why it was not taken, as far as the cloud knows; otherwise empty.
    """

    id: str
    subscription: str
    event_id: str
    attempts: int
    last_error: str


@runtime_checkable
class DeadLetters(Protocol):
    """What no subscriber would take, kept until someone has mended the reason."""

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Those that are there, oldest first. They stay."""
        ...

    def replay(self, ids: Sequence[str] | None = None) -> int:
        """Deliver dead letters again, as they were published: those named or all; return how many.

        Each is gone only after it is safely on its way. So one may be delivered again and still be there, if its
        replay was cut off, and none is lost.

        Raises:
            PipelineError: ``request.invalid`` for an id that is no dead letter's; then none is delivered.
        """
        ...


class ObjectStore(Protocol):
    """Objects that never change: one name, one content, until deleted."""

    def sign_upload(
        self, ref: ObjectRef, *, content_type: str, max_bytes: int, expires_s: float, resumable: bool = False
    ) -> SignedRequest:
        """A request that creates this object, once. With ``resumable``, one that opens a session to do so."""
        ...

    def sign_download(self, ref: ObjectRef, *, expires_s: float) -> str:
        """A URL that reads this object, with ranges."""
        ...

    def stat(self, ref: ObjectRef) -> ObjectInfo:
        """The object's description.

        Raises:
            PipelineError: ``object.not_found``.
        """
        ...

    def read(self, ref: ObjectRef) -> bytes:
        """The whole content; for artifacts, never for media.

        Raises:
            PipelineError: ``object.not_found``.
        """
        ...

    def write(self, ref: ObjectRef, content: bytes, *, content_type: str) -> ObjectInfo:
        """Create the object.

        Raises:
            PipelineError: ``object.exists``.
        """
        ...

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object; one that is not there is no error."""
        ...


class CallState(StrEnum):
    """What a runner knows of a call."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class Call:
    """The state of a call.

    Attributes:
        error: Why it failed, where it did.
        report: What the attempt reported, or would have, had the report not got lost; once it is over, if known.
    """

    state: CallState
    error: ErrorInfo | None = None
    report: StageCompleted | StageFailed | None = None


class StageRunner(Protocol):
    """Runs attempts of stages whose placement is ``gpu``. Results come by report, not from here."""

    def start(self, request: StageRequest) -> str:
        """Accept an attempt and return the call's id at once; a second start of one attempt gives the first's id.

        Raises:
            PipelineError: ``service.unavailable`` when nothing was started.
        """
        ...

    def poll(self, call_id: str) -> Call:
        """What became of a call; ``lost`` when nobody here knows it."""
        ...

    def cancel(self, call_id: str) -> None:
        """Stop a call within seconds; one that is over or unknown is no error."""
        ...


class Callers(Protocol):
    """Who may call the functions that only the cloud itself calls."""

    def check(self, authorization: str | None) -> None:
        """Refuse anyone else.

        Args:
            authorization: The header of that name.

        Raises:
            PipelineError: ``request.unauthorized``.
        """
        ...


class Prober(Protocol):
    """Looks at content without trusting it."""

    def probe(self, ref: ObjectRef) -> Probe:
        """What an object's content is.

        Raises:
            PipelineError: A ``media.*`` code for content that is not accepted.
        """
        ...
