"""Events: past-tense facts about one job, and the CloudEvents 1.0 envelope that carries them.

The same classes are what :func:`shared.advance.advance` consumes, so what is published is exactly what changed a
job. Classes with ``published = False`` change a job but are not sent to the topic: they are too frequent, or
of no use outside.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter

from shared.errors import ErrorInfo
from shared.media import Media, ObjectInfo
from shared.model import Value
from shared.stages import Kind
from shared.transcript import Notice

# Of the end of what was heard so far: what a fast model hears between two reports.
PARTIAL_TEXT_CHARACTERS = 2000


class Artifact(Value):
    """A file a stage wrote, by name and immutable version."""

    kind: Kind
    filename: str
    object: ObjectInfo


class TranscriptVersion(Value):
    """One version of a transcript that someone has made from the one before.

    Attributes:
        number: Of this version; the pipeline's own is 1.
        at: When it was made.
        actor: Id of the API key that was used; ``owner`` for the command line and the platform.
        change: What was done: ``speaker_named``, ``speakers_merged``, ``edited`` or ``restored``.
        summary: The same as one sentence, without anything that was said.
        artifacts: The transcript and its captions.
    """

    number: int
    at: datetime
    actor: str
    change: str
    summary: str
    artifacts: tuple[Artifact, ...]


class Metrics(Value):
    """What an attempt took.

    Attributes:
        audio_s: Decoded length.
        compute_s: Wall time of the model's work, without waiting for it.
        load_s: Time to load the model; 0 on a warm worker.
        model: Alias and revision.
        device: ``cpu``, ``cuda`` …
        cost_usd: ``None`` where no price is known.
    """

    audio_s: float = 0.0
    compute_s: float = 0.0
    load_s: float = 0.0
    model: str = ""
    device: str = ""
    cost_usd: float | None = None


class Fact(Value):
    """Something that happened to one job."""

    published: ClassVar[bool] = True
    type: str


class JobCreated(Fact):
    """A job was requested and waits for its upload; with ``has_source``, for what is somewhere already."""

    type: Literal["job.created"] = "job.created"
    has_source: bool = False


class SourceOpened(Fact):
    """What a job is to be given is being fetched, and is called ``filename``."""

    published: ClassVar[bool] = False
    type: Literal["source.opened"] = "source.opened"
    filename: str


class SourceFailed(Fact):
    """What a job is to be given cannot be fetched; the job ends."""

    published: ClassVar[bool] = False
    type: Literal["source.failed"] = "source.failed"
    error: ErrorInfo


class MediaReceived(Fact):
    """The upload was finalized."""

    published: ClassVar[bool] = False
    type: Literal["media.received"] = "media.received"
    object: ObjectInfo


class MediaValidated(Fact):
    """The upload holds audio that is accepted.

    Attributes:
        reused_from: The job whose results this one has now, too; the GPU stages find them where they would write them.
        notices: What that job's stages found worth telling.
    """

    type: Literal["media.validated"] = "media.validated"
    media: Media
    reused_from: str = ""
    notices: tuple[Notice, ...] = ()


class MediaRejected(Fact):
    """The upload is not accepted; the job ends."""

    type: Literal["media.rejected"] = "media.rejected"
    error: ErrorInfo


class StagesClaimed(Fact):
    """A dispatcher took every stage that was due, under a lease of ``lease_s`` seconds."""

    published: ClassVar[bool] = False
    type: Literal["stages.claimed"] = "stages.claimed"
    lease_s: float


class StageDispatched(Fact):
    """A runner accepted an attempt and calls it ``call_id``."""

    published: ClassVar[bool] = False
    type: Literal["stage.dispatched"] = "stage.dispatched"
    stage: str
    attempt: int
    call_id: str


class StageDeferred(Fact):
    """No runner, or no store, could be reached: the stage stays ready, says why, and is tried again, at no cost."""

    published: ClassVar[bool] = False
    type: Literal["stage.deferred"] = "stage.deferred"
    stage: str
    attempt: int
    error: ErrorInfo


class StageProgressed(Fact):
    """An attempt got on. ``partial_text`` is the end of what was heard so far."""

    published: ClassVar[bool] = False
    type: Literal["stage.progressed"] = "stage.progressed"
    stage: str
    attempt: int
    progress: float = Field(ge=0.0, le=1.0)
    partial_text: str | None = Field(default=None, max_length=PARTIAL_TEXT_CHARACTERS)


class StageCompleted(Fact):
    """An attempt finished and its artifacts are in the store."""

    type: Literal["stage.completed"] = "stage.completed"
    stage: str
    attempt: int
    artifacts: tuple[Artifact, ...] = ()
    metrics: Metrics = Metrics()
    notices: tuple[Notice, ...] = ()


class StageFailed(Fact):
    """An attempt failed; ``will_retry`` is set when it is published."""

    type: Literal["stage.failed"] = "stage.failed"
    stage: str
    attempt: int
    error: ErrorInfo
    will_retry: bool = False


class JobCompleted(Fact):
    """Every stage that applies is done; the artifacts are all of the job's."""

    type: Literal["job.completed"] = "job.completed"
    artifacts: tuple[Artifact, ...]
    notices: tuple[Notice, ...] = ()


class JobFailed(Fact):
    """A stage failed for good."""

    type: Literal["job.failed"] = "job.failed"
    error: ErrorInfo


class JobCanceled(Fact):
    """Someone canceled the job."""

    type: Literal["job.canceled"] = "job.canceled"


class JobExpired(Fact):
    """The upload never came."""

    type: Literal["job.expired"] = "job.expired"


class JobOverdue(Fact):
    """The job's deadline passed before it ended."""

    published: ClassVar[bool] = False
    type: Literal["job.overdue"] = "job.overdue"


class JobRetried(Fact):
    """Someone wants what failed, or was canceled, to be tried again; what was completed stays."""

    type: Literal["job.retried"] = "job.retried"


class TranscriptEdited(Fact):
    """Someone changed the transcript of a completed job: there is a new version of it."""

    type: Literal["transcript.edited"] = "transcript.edited"
    version: TranscriptVersion


class JobDeleted(Fact):
    """Someone, or the retention, wants nothing of the job to be left."""

    type: Literal["job.deleted"] = "job.deleted"


class JobErased(Fact):
    """Nothing of a deleted job is left, and no URL is good any more by which something could come back."""

    published: ClassVar[bool] = False
    type: Literal["job.erased"] = "job.erased"


AnyFact = Annotated[
    JobCreated
    | SourceOpened
    | SourceFailed
    | MediaReceived
    | MediaValidated
    | MediaRejected
    | StagesClaimed
    | StageDispatched
    | StageDeferred
    | StageProgressed
    | StageCompleted
    | StageFailed
    | JobCompleted
    | JobFailed
    | JobCanceled
    | JobExpired
    | JobOverdue
    | JobRetried
    | TranscriptEdited
    | JobDeleted
    | JobErased,
    Field(discriminator="type"),
]

FACTS: Mapping[str, type[Fact]] = MappingProxyType(
    {member.model_fields["type"].default: member for member in get_args(get_args(AnyFact)[0])}
)
_ANY_FACT: TypeAdapter[Any] = TypeAdapter(AnyFact)


def read_fact(data: Any) -> Fact:
    """Read any fact from plain data by its ``type``, ignoring unknown fields.

    Raises:
        pydantic.ValidationError: An unknown type, or a known field is missing or wrong.
    """
    fact: Fact = _ANY_FACT.validate_python(data, extra="ignore")
    return fact


class Event(Value):
    """A CloudEvents 1.0 envelope around one published fact.

    ``id`` is made from the job and the revision that the fact caused, so a fact published twice has one id.
    ``tenantid`` and ``jobid`` are extension attributes; on a topic they are message attributes, and ``jobid``
    is the ordering key. ``traceparent`` is the extension for distributed tracing; the trace is the one of the request
    that made the job.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = "earwitness"
    type: str
    subject: str
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    tenantid: str
    jobid: str
    # Never sent empty: the extension knows no such value.
    traceparent: str = Field(default="", exclude_if=lambda value: not value)
    data: dict[str, Any]

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of a message that carries it, which subscriptions filter by."""
        traced = {"traceparent": self.traceparent} if self.traceparent else {}
        return {"type": self.type, "tenant_id": self.tenantid, "job_id": self.jobid, **traced}

    @property
    def fact(self) -> Fact:
        """The fact inside.

        Raises:
            pydantic.ValidationError: The data is not a fact that is known here.
        """
        return read_fact(self.data)


def envelope(fact: Fact, *, tenant_id: str, job_id: str, revision: int, now: datetime, traceparent: str = "") -> Event:
    """Wrap a fact that the commit of ``revision`` caused."""
    return Event(
        id=f"{job_id}/{revision}/{fact.type}",
        type=fact.type,
        subject=f"jobs/{job_id}",
        time=now,
        tenantid=tenant_id,
        jobid=job_id,
        traceparent=traceparent,
        data=fact.model_dump(mode="json"),
    )
