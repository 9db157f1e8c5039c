"""How a job ends, is taken up again, and is forgotten."""

from datetime import datetime

from shared.errors import ErrorInfo
from shared.events import TranscriptVersion
from shared.jobs import Job, JobState, StageState, StageStatus
from shared.media import Media


def ended(job: Job, state: JobState, error: ErrorInfo | None = None) -> Job:
    """The job in one of its last states."""
    return job.model_copy(update={"state": state, "error": error, "partial_text": ""})


def calls_under_way(job: Job) -> tuple[str, ...]:
    """Calls of the runner that have not ended, as far as the job knows; also those that a retry has left behind."""
    return tuple(call_id for stage in job.stages.values() if (call_id := _call_under_way(stage)))


def tried_again(job: Job, now: datetime) -> Job | None:
    """The job once more: what was completed stays, everything else begins anew with the next attempt.

    ``None`` for a job that did not fail, or of whose recording nothing is known.
    """
    if job.state not in (JobState.FAILED, JobState.CANCELED) or job.media is None:
        return None
    again = {
        name: stage
        if stage.state.is_done
        else StageState(attempt=stage.attempt, progress=stage.progress, call_id=_call_under_way(stage))
        for name, stage in job.stages.items()
    }
    state = JobState.RUNNING
    if not again["validate"].state.is_done:
        again["validate"] = StageState(state=StageStatus.RUNNING, attempt=1, started_at=now)
        state = JobState.VALIDATING
    update = {"state": state, "stages": again, "error": None, "deadline_at": None}
    return job.model_copy(update=update)


def _call_under_way(stage: StageState) -> str | None:
    return stage.call_id if stage.state in (StageStatus.PENDING, StageStatus.DISPATCHED, StageStatus.RUNNING) else None


def edited(job: Job, version: TranscriptVersion) -> Job | None:
    """The job with a new version of its transcript; ``None`` if that is not the one after the current version."""
    current = job.transcript.number if job.transcript else 1
    if job.state is not JobState.COMPLETED or version.number != current + 1:
        return None
    return job.model_copy(update={"transcript": version})


def tombstone(job: Job) -> Job:
    """What the audit log keeps: no names, no texts; until all is erased, what to stop and to remove, too."""
    stages = {
        name: StageState(state=stage.state, attempt=stage.attempt, call_id=stage.call_id)
        for name, stage in job.stages.items()
    }
    return Job(
        job_id=job.job_id,
        tenant_id=job.tenant_id,
        state=JobState.DELETING,
        revision=job.revision,
        created_at=job.created_at,
        updated_at=job.updated_at,
        upload_expires_at=job.upload_expires_at,
        media=Media(object=job.media.object) if job.media else None,
        stages=stages,
        progress=job.progress,
    )


def audit_line(job: Job) -> Job:
    """What is left of a job of which nothing is left."""
    return job.model_copy(update={"state": JobState.DELETED, "media": None})
