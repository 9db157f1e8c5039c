"""What the API shows of things."""

from datetime import datetime
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from shared.errors import ErrorInfo
from shared.events import Metrics
from shared.jobs import Job, JobState, StageStatus, StateChange
from shared.media import Probe
from shared.options import JobOptions
from shared.requests import SignedRequest
from shared.transcript import Notice

_MADE_HERE = ("probe", "size_bytes", "stages", "callback_host")


class StageView(BaseModel):
    """One stage of a job."""

    state: StageStatus
    attempt: int
    progress: float
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorInfo | None
    metrics: Metrics | None


class JobView(BaseModel):
    """A job as its owner sees it."""

    job_id: str
    state: JobState
    revision: int
    created_at: datetime
    updated_at: datetime
    filename: str
    owner_id: str
    deadline_at: datetime | None
    options: JobOptions
    probe: Probe | None
    size_bytes: int | None
    progress: float
    partial_text: str
    stages: dict[str, StageView]
    notices: list[Notice]
    error: ErrorInfo | None
    metadata: dict[str, str]
    callback_host: str = Field(description="Where the end of the job is told; the URL itself may hold a secret.")
    retention_days: float | None
    source: str = Field(description="Where the recording comes from, if it is not uploaded; a URL without its query.")
    reused_from: str = Field(description="The job whose results for the same recording it has; empty for none.")
    transcript_version: int | None = Field(description="The current version of the transcript, once there is one.")
    history: list[StateChange] = Field(description="When it came into each of its states; the latest twenty.")


class CreatedJob(BaseModel):
    """A new job, and how to upload its recording: send this request with exactly these headers."""

    job: JobView
    upload: SignedRequest | None = Field(description="Null where the recording is somewhere already.")


def job_view(job: Job) -> JobView:
    """A job as its owner sees it."""
    return JobView(
        **{name: getattr(job, name) for name in JobView.model_fields if name not in _MADE_HERE},
        probe=job.media.probe if job.media else None,
        callback_host=urlsplit(job.callback_url).hostname or "",
        size_bytes=job.media.object.size_bytes if job.media else None,
        stages={
            name: StageView(**{field: getattr(stage, field) for field in StageView.model_fields})
            for name, stage in job.stages.items()
        },
    )
