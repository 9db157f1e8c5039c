"""Jobs and facts to test with, and a way to tell a job a story."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.advance import Step, advance, new_job
from shared.errors import ErrorInfo, PipelineError
from shared.events import (
    Artifact,
    Event,
    Fact,
    MediaReceived,
    MediaValidated,
    Metrics,
    StageCompleted,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagesClaimed,
)
from shared.jobs import Job
from shared.media import Media, ObjectInfo, Probe
from shared.options import JobOptions
from shared.stages import STAGES

START = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
LEASE_S = 15.0

JOB_ID = "job_000000000001"
UPLOAD = ObjectInfo(
    bucket="uploads", name=f"acme/{JOB_ID}/media", generation=1, size_bytes=1000, content_type="audio/wav"
)
PROBE = Probe(container="wav", audio_codec="pcm_s16le", duration_s=12.5, sample_rate_hz=16_000, channels=1)

RECEIVED = MediaReceived(object=UPLOAD)
VALIDATED = MediaValidated(media=Media(object=UPLOAD, filename="talk.wav", probe=PROBE))
CLAIMED = StagesClaimed(lease_s=LEASE_S)


def created(options: JobOptions | None = None, deadline_at: datetime | None = None) -> Step:
    """A new job that waits for its upload."""
    return new_job(
        job_id=JOB_ID,
        tenant_id="acme",
        filename="talk.wav",
        options=options or JobOptions(),
        upload_expires_at=START + timedelta(hours=24),
        deadline_at=deadline_at,
        now=START,
    )


def error(code: str) -> ErrorInfo:
    """An error of the catalogue as data."""
    return PipelineError(code).info


def dispatched(stage: str, attempt: int = 1) -> StageDispatched:
    """A runner took an attempt."""
    return StageDispatched(stage=stage, attempt=attempt, call_id=f"call/{stage}/{attempt}")


def progressed(stage: str, progress: float, attempt: int = 1, text: str | None = None) -> StageProgressed:
    """An attempt got on."""
    return StageProgressed(stage=stage, attempt=attempt, progress=progress, partial_text=text)


def completed(stage: str, attempt: int = 1) -> StageCompleted:
    """An attempt wrote all that its stage writes."""
    artifacts = tuple(
        Artifact(
            kind=product.kind,
            filename=product.filename,
            object=ObjectInfo(
                bucket="results",
                name=f"acme/{JOB_ID}/{product.filename}",
                generation=7,
                size_bytes=100,
                content_type=product.content_type,
            ),
        )
        for product in STAGES[stage].products
    )
    return StageCompleted(stage=stage, attempt=attempt, artifacts=artifacts, metrics=Metrics(audio_s=12.5))


def failed(stage: str, attempt: int = 1, code: str = "stage.crashed") -> StageFailed:
    """An attempt failed."""
    return StageFailed(stage=stage, attempt=attempt, error=error(code))


@dataclass
class Story:
    """A job, and everything that was published of it."""

    job: Job
    events: list[Event]
    now: datetime = START

    @classmethod
    def begin(cls, options: JobOptions | None = None, *facts: Fact) -> "Story":
        """A new job, told these facts."""
        step = created(options)
        story = cls(step.job, list(step.events))
        story.tell(*facts)
        return story

    @classmethod
    def running(cls, options: JobOptions | None = None) -> "Story":
        """A job whose recording was accepted and whose first stages were claimed."""
        return cls.begin(options, RECEIVED, VALIDATED, CLAIMED)

    def wait(self, seconds: float) -> "Story":
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def tell(self, *facts: Fact) -> Step:
        """Apply facts one after the other; return the last step."""
        step = Step(job=self.job)
        for fact in facts:
            step = advance(self.job, fact, self.now)
            self.job = step.job
            self.events += step.events
        return step

    @property
    def types(self) -> list[str]:
        """Types of the events so far."""
        return [event.type for event in self.events]

    def complete(self) -> "Story":
        """Bring a job whose GPU stages are claimed to its end."""
        under_way = [name for name in ("transcribe", "diarize") if self.job.stages[name].state != "skipped"]
        self.tell(*(dispatched(name) for name in under_way), *(completed(name) for name in under_way))
        self.tell(CLAIMED, completed("attribute"), CLAIMED, completed("caption"))
        return self
