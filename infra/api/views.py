"""What the API shows of things."""

from datetime import datetime

from pydantic import BaseModel

from shared.errors import ErrorInfo
from shared.events import Metrics
from shared.jobs import Job, JobState, StageStatus
from shared.media import Probe
from shared.options import JobOptions
from shared.requests import SignedRequest
from shared.transcript import Notice


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


class CreatedJob(BaseModel):
    """A new job, and how to upload its recording: send this request with exactly these headers."""

    job: JobView
    upload: SignedRequest


def job_view(job: Job) -> JobView:
    """A job as its owner sees it."""
    return JobView(
        **{name: getattr(job, name) for name in JobView.model_fields if name not in ("probe", "size_bytes", "stages")},
        probe=job.media.probe if job.media else None,
        size_bytes=job.media.object.size_bytes if job.media else None,
        stages={
            name: StageView(**{field: getattr(stage, field) for field in StageView.model_fields})
            for name, stage in job.stages.items()
        },
    )
