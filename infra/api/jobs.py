"""Jobs: created, followed, canceled, retried, deleted."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infra.api.access import allowed
from infra.api.problems import documented
from infra.api.views import CreatedJob, JobView, job_view
from infra.pipeline.control import cancel_job, delete_job, find_job, retry_job
from infra.pipeline.intake import create_job
from infra.wiring import services
from shared.keys import Principal
from shared.options import JobOptions

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=documented(400, 401, 403, 404, 429, 503))

MAY_WRITE = allowed("jobs:write")

ContentType = Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+-]+(;[\w\s=.+,\"-]+)?$", max_length=200)]


class CreateJob(BaseModel):
    """A recording that is about to be uploaded."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(default="", max_length=255, description="Shown back; never used as a path.")
    content_type: ContentType = Field(default="application/octet-stream", description="Of the upload.")
    size_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**53 - 1,
        description="Of the upload, if known: one that is too large or empty is refused at once.",
    )
    upload: Literal["put", "resumable"] = Field(
        default="put",
        description="One signed PUT, or a signed POST that opens a resumable session (Cloud Storage's protocol).",
    )
    owner_id: str = Field(
        default="",
        max_length=128,
        description="Which of your users this is for: where status documents can be listened to, only this user may.",
    )
    deadline_s: float | None = Field(
        default=None, gt=0, le=30 * 24 * 3600.0, description="After this time a job that has not ended fails."
    )
    options: JobOptions = JobOptions()


@router.post("", status_code=201, responses=documented(413, 422))
def create(body: CreateJob, caller: Annotated[Principal, MAY_WRITE]) -> CreatedJob:
    """Create a job and get a signed upload."""
    created = create_job(
        services(),
        tenant_id=caller.tenant_id,
        filename=body.filename,
        content_type=body.content_type,
        size_bytes=body.size_bytes,
        owner_id=body.owner_id,
        deadline_s=body.deadline_s,
        options=body.options,
        resumable=body.upload == "resumable",
    )
    return CreatedJob(job=job_view(created.job), upload=created.upload)


@router.post("/{job_id}/cancel", responses=documented(409))
def cancel(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> JobView:
    """End a job now."""
    find_job(services(), job_id, caller.tenant_id)
    return job_view(cancel_job(services(), job_id))


@router.post("/{job_id}/retry", responses=documented(409))
def retry(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> JobView:
    """Try again what failed or was canceled, and what depends on it."""
    find_job(services(), job_id, caller.tenant_id)
    return job_view(retry_job(services(), job_id))


@router.delete("/{job_id}", status_code=204)
def delete(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> None:
    """Have nothing of a job left: recording, results and status document."""
    find_job(services(), job_id, caller.tenant_id)
    delete_job(services(), job_id)
