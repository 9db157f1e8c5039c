"""The HTTP API: create a job, follow it, read its transcript."""

from datetime import datetime
from typing import Annotated, Any, Literal

import functions_framework.aio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infra.bodies import BodyLimit
from infra.exports import FORMATS, render
from infra.pipeline.control import cancel_job, delete_job, find_job, retry_job
from infra.pipeline.intake import create_job
from infra.pipeline.transcripts import read_transcript
from infra.wiring import services
from shared.errors import ErrorInfo, PipelineError
from shared.events import Metrics
from shared.jobs import Job, JobState, StageStatus
from shared.media import Probe
from shared.options import JobOptions
from shared.requests import SignedRequest
from shared.transcript import Notice

TENANT_ID = "default"

app = FastAPI(title="Earwitness", version="1", docs_url="/docs", redoc_url=None, openapi_url="/openapi.json")
app.add_middleware(BodyLimit)

ContentType = Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+-]+(;[\w\s=.+,\"-]+)?$", max_length=200)]


class CreateJob(BaseModel):
    """A recording that is about to be uploaded."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(default="", max_length=255, description="Shown back; never used as a path.")
    content_type: ContentType = Field(default="application/octet-stream", description="Of the upload.")
    size_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
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


@app.get("/", include_in_schema=False)
def home() -> RedirectResponse:
    """A person who opens the address wants the reference."""
    return RedirectResponse("docs")


@app.post("/v1/jobs", status_code=201)
def create(body: CreateJob) -> CreatedJob:
    """Create a job and get a signed upload."""
    created = create_job(
        services(),
        tenant_id=TENANT_ID,
        filename=body.filename,
        content_type=body.content_type,
        size_bytes=body.size_bytes,
        owner_id=body.owner_id,
        deadline_s=body.deadline_s,
        options=body.options,
        resumable=body.upload == "resumable",
    )
    return CreatedJob(job=_view(created.job), upload=created.upload)


@app.get("/v1/jobs/{job_id}")
def status(job_id: str) -> JobView:
    """The status document of a job."""
    return _view(find_job(services(), job_id))


@app.post("/v1/jobs/{job_id}/cancel")
def cancel(job_id: str) -> JobView:
    """End a job now."""
    return _view(cancel_job(services(), job_id))


@app.post("/v1/jobs/{job_id}/retry")
def retry(job_id: str) -> JobView:
    """Try again what failed or was canceled, and what depends on it."""
    return _view(retry_job(services(), job_id))


@app.delete("/v1/jobs/{job_id}", status_code=204)
def delete(job_id: str) -> None:
    """Have nothing of a job left: recording, results and status document."""
    find_job(services(), job_id)
    delete_job(services(), job_id)


@app.get("/v1/jobs/{job_id}/transcript")
def transcript(job_id: str, format: str = "json") -> Response:
    """The transcript of a completed job, in any export format."""
    found = read_transcript(services(), job_id)
    content = render(found.transcript, format, found.options.captions)
    return Response(content, media_type=FORMATS[format].media_type)


@app.exception_handler(PipelineError)
def _typed(_request: Request, error: PipelineError) -> JSONResponse:
    return _problem(error)


@app.exception_handler(RequestValidationError)
def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _problem(PipelineError("request.invalid", f"{where or 'body'}: {first['msg']}"))


def _problem(error: PipelineError) -> JSONResponse:
    """An error as RFC 9457 problem details, with our stable code."""
    body: dict[str, Any] = {
        "title": error.code,
        "status": error.http_status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
    }
    return JSONResponse(body, error.http_status, media_type="application/problem+json")


def _view(job: Job) -> JobView:
    return JobView(
        **{name: getattr(job, name) for name in JobView.model_fields if name not in ("probe", "size_bytes", "stages")},
        probe=job.media.probe if job.media else None,
        size_bytes=job.media.object.size_bytes if job.media else None,
        stages={
            name: StageView(**{field: getattr(stage, field) for field in StageView.model_fields})
            for name, stage in job.stages.items()
        },
    )


@functions_framework.aio.http
async def api(_request: Request) -> FastAPI:
    """Serve the API behind one function: functions-framework answers with the app this returns."""
    return app
