"""The job: one request to process one media, and the status document that tells its story."""

from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from pydantic import Field, field_validator

from shared.errors import ErrorInfo
from shared.events import (
    Artifact,
    Metrics,
    TranscriptVersion,
)
from shared.media import Media
from shared.model import Value
from shared.options import JobOptions
from shared.stages import STAGES, Kind
from shared.transcript import Notice

# A job that is retried again and again must not grow for ever.
MAX_HISTORY = 20


class JobState(StrEnum):
    """Where a job is. All but the first three are terminal: only a wish of someone leads on from there.

    A job that is deleted is a line of the audit log: when which tenant's job was, and nothing of what it was about.
    """

    AWAITING_UPLOAD = "awaiting_upload"
    VALIDATING = "validating"
    RUNNING = "running"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DELETING = "deleting"
    DELETED = "deleted"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing happens to the job any more by itself."""
        return self not in (JobState.AWAITING_UPLOAD, JobState.VALIDATING, JobState.RUNNING)

    @property
    def is_gone(self) -> bool:
        """Whether there is no such job any more, for all but the audit log."""
        return self in (JobState.DELETING, JobState.DELETED)


class StageStatus(StrEnum):
    """Where a stage is."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_done(self) -> bool:
        """Whether stages that wait for this one may start."""
        return self in (StageStatus.COMPLETED, StageStatus.SKIPPED)


class StageState(Value):
    """One stage of one job.

    Attributes:
        attempt: Number of the latest attempt, from 1; 0 before the first.
        started_at: When it was dispatched, and once it runs, when it began to.
        failures: Attempts that failed for a reason of their own.
        losses: Attempts that ended for no reason of their own: their runner vanished, or a service was away.
        takeovers: Times that an expired claim on the latest attempt was taken over.
        progress: 0..1; never falls, not even when an attempt starts anew.
        not_before: A retry waits until then.
        lease_expires_at: While the claim of a dispatcher holds; afterwards another may take over.
        call_id: The runner's name for the attempt once it was accepted. Of a stage that waits: of an attempt of before,
            which a retry came too early for to be stopped, and which whoever claims the stage stops.
    """

    state: StageStatus = StageStatus.PENDING
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    takeovers: int = 0
    progress: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    not_before: datetime | None = None
    lease_expires_at: datetime | None = None
    call_id: str | None = None
    error: ErrorInfo | None = None
    artifacts: tuple[Artifact, ...] = ()
    metrics: Metrics | None = None


class StateChange(Value):
    """When a job came into a state, and by which revision."""

    state: JobState
    revision: int
    at: datetime


class Selection(Value):
    """Which of a tenant's jobs are meant: those that have all of this.

    Attributes:
        owner_id: ``None`` for any of its users.
    """

    tenant_id: str
    owner_id: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class About(TypedDict, total=False):
    """What a caller may say of a new job, as fields of :class:`Job`."""

    filename: str
    owner_id: str
    deadline_at: datetime | None
    metadata: dict[str, str]
    callback_url: str
    retention_days: float | None
    traceparent: str
    source: str
    reuse: bool


class Job(Value):
    """One request to process one media. This is the status document.

    Attributes:
        revision: Grows by one with each change; the store refuses a change made from an older one.
        owner_id: Whose job it is among the tenant's users, as the tenant's sign-in names them; may be empty.
        progress: 0..1 over all stages by weight; never falls.
        partial_text: End of what was heard so far, while transcribing.
        deadline_at: When the job is given up if it has not ended.
        upload_expires_at: After this an upload that has not come is given up.
        transcript: The transcript's current version, once it was edited; before that, the stages' own counts.
        history: The states it came through, this one last; the latest ``MAX_HISTORY`` of them.
        source: Where its recording comes from, if it is not uploaded: a URL without its query, or an object's URI.
        reuse: Whether an earlier job's results may be taken for its own.
        reused_from: The job whose results they are.
        metadata: What the caller keeps with it, by name.
        callback_url: Whom it is told how the job ended, without path and query: apps may listen to this document, and
            those may be secret (:class:`shared.webhooks.Callback`). Empty for nobody.
        retention_days: After how many days, once it has ended, it is deleted; the deployment's if that is shorter.
        traceparent: Of the request that made it, after W3C Trace Context: what happens to the job is of that trace.
    """

    job_id: str
    tenant_id: str
    state: JobState = JobState.AWAITING_UPLOAD
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    upload_expires_at: datetime
    deadline_at: datetime | None = None
    filename: str = ""
    owner_id: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    callback_url: str = ""
    retention_days: float | None = None
    options: JobOptions = JobOptions()
    media: Media | None = None
    stages: dict[str, StageState] = Field(default_factory=dict)
    progress: float = 0.0
    partial_text: str = ""
    notices: tuple[Notice, ...] = ()
    error: ErrorInfo | None = None
    transcript: TranscriptVersion | None = None
    history: tuple[StateChange, ...] = ()
    traceparent: str = ""
    source: str = ""
    reuse: bool = True
    reused_from: str = ""

    @field_validator("stages")
    @classmethod
    def _as_in_the_table(cls, stages: dict[str, StageState]) -> dict[str, StageState]:
        # A job made before a stage was added goes on without it; one that was removed, nobody can run. And
        # not every store keeps the order of a document's fields.
        return {name: stages.get(name, StageState(state=StageStatus.SKIPPED)) for name in STAGES}

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All artifacts, in the order of the stages."""
        return tuple(artifact for name in STAGES for artifact in self.stages[name].artifacts)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, if it has: a transcript that is corrected later makes the job no younger."""
        if not self.state.is_terminal:
            return None
        return self.history[-1].at if self.history else self.updated_at

    @property
    def transcript_version(self) -> int | None:
        """The current version of its transcript, once there is one."""
        if self.transcript is not None:
            return self.transcript.number
        has_one = any(artifact.kind is Kind.TRANSCRIPT for artifact in self.artifacts)
        return 1 if has_one and self.state is JobState.COMPLETED else None
