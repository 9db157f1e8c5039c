"""Jobs: created, listed, canceled, retried, deleted."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from infra.api.access import allowed
from infra.api.cursors import behind, cut
from infra.api.idempotency import once
from infra.api.problems import Problem, documented, problem_body
from infra.api.strict import Body
from infra.api.views import CreatedJob, JobView, job_view
from infra.pipeline.audit import OWNER
from infra.pipeline.control import cancel_job, delete_job, find_job, list_jobs, retry_job
from infra.pipeline.intake import create_job, sign_upload
from infra.wiring import Services, services
from shared.errors import PipelineError
from shared.jobs import JobState, Selection
from shared.keys import Principal
from shared.options import JobOptions
from shared.repeats import KeptAnswer

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=documented(400, 401, 403, 404, 429, 503))

MAY_READ = allowed("jobs:read")
MAY_WRITE = allowed("jobs:write")
MAX_BATCH = 100
MAX_METADATA_FILTERS = 5
# How many jobs of one batch are made at a time: each is a few requests to other services.
_AT_ONCE = 8
_METADATA = "metadata."
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")


def _written_out(text: str) -> str:
    # Pydantic would take a number of seconds, which the reference does not know.
    if not _DATE.match(text):
        raise PydanticCustomError("datetime", "a time is written as in 2026-01-01T12:00:00Z")
    return text


ContentType = Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+-]+(;[\w\s=.+,\"-]+)?$", max_length=200)]
# Some stores have names of their own that begin and end with underscores.
MetadataName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
MetadataValue = Annotated[str, StringConstraints(max_length=500)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
ListedState = Literal[
    "awaiting_upload", "validating", "running", "completed", "rejected", "failed", "canceled", "expired"
]


class Callback(Body):
    """Where the end of one job is told."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="Gets the events that end the job, signed as those of webhook endpoints are.",
        examples=["https://example.com/hooks/earwitness"],
    )


class CreateJob(Body):
    """A recording that is about to be uploaded, or that is somewhere already."""

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
    source_url: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Instead of an upload: fetched from here. Its query, where secrets are, is shown to nobody.",
        examples=["https://media.example.com/meeting.m4a"],
    )
    source_uri: str | None = Field(
        default=None,
        max_length=1300,
        pattern=r"^gs://[a-z0-9][a-z0-9._-]+/.+$",
        description="Instead of an upload: an object that is read where it is, in your inbox or in a bucket that the"
        " deployment lists for you. It is not deleted with the job, unless it lies in the inbox.",
    )
    reuse: bool = Field(
        default=True,
        description="Whether the results of an earlier job of yours with the same recording and options may be taken.",
    )
    owner_id: str = Field(
        default="",
        max_length=128,
        description="Which of your users this is for: where status documents can be listened to, only this user may.",
    )
    deadline_s: float | None = Field(
        default=None, gt=0, le=30 * 24 * 3600.0, description="After this time a job that has not ended fails."
    )
    retention_days: float | None = Field(
        default=None,
        gt=0,
        le=3650,
        description="So many days after it has ended the job is deleted with all it has written; the deployment's own"
        " retention holds where that is shorter.",
    )
    metadata: dict[MetadataName, MetadataValue] = Field(
        default={},
        max_length=50,
        description="Yours to keep with the job and to find it by.",
        # Of itself pydantic tells what names that fit hold, and not that others are refused.
        json_schema_extra={"additionalProperties": False},
    )
    callback: Callback | None = None
    options: JobOptions = JobOptions()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.source_url is not None and self.source_uri is not None:
            raise ValueError("give source_url or source_uri, not both")
        return self


class CreateJobs(Body):
    """Several recordings that are about to be uploaded."""

    jobs: list[CreateJob] = Field(min_length=1, max_length=MAX_BATCH)


class BatchResult(BaseModel):
    """One job of a batch: made, or refused for a reason of its own."""

    created: CreatedJob | None = None
    problem: Problem | None = None


class CreatedJobs(BaseModel):
    """What became of each job, in the order in which they were given."""

    results: list[BatchResult]


class JobPage(BaseModel):
    """Jobs, newest first."""

    data: list[JobView]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


def _signed_again(found: Services, kept: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A kept answer with an upload that is good from now on, while the job waits for it."""
    return kept | _upload(found, kept, values["body"], values["caller"].tenant_id)


def _all_signed_again(found: Services, kept: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    def signed(result: dict[str, Any], body: CreateJob) -> dict[str, Any]:
        created = result["created"]
        return result | {"created": created and created | _upload(found, created, body, values["caller"].tenant_id)}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {"results": list(pool.map(signed, kept["results"], values["body"].jobs))}


def _nothing_to_retry(made: CreatedJobs) -> bool:
    return not any(result.problem and result.problem.retryable for result in made.results)


def _upload(found: Services, created: Mapping[str, Any], body: CreateJob, tenant_id: str) -> dict[str, Any]:
    try:
        job = find_job(found, created["job"]["job_id"], tenant_id)
    except PipelineError as error:
        if error.code != "job.not_found":
            raise
        return {}
    # A URL for a job that has ended could bring a part of it back.
    if job.state is not JobState.AWAITING_UPLOAD or job.source:
        return {}
    upload = sign_upload(found, job, content_type=body.content_type, resumable=body.upload == "resumable")
    return {"upload": upload.model_dump()}


@router.post("", status_code=201, responses=documented(409, 413, 422))
@once(renewed=_signed_again)
def create(body: CreateJob, caller: Annotated[Principal, MAY_WRITE], claim: KeptAnswer | None = None) -> CreatedJob:
    """Create a job and get a signed upload, unless the recording is somewhere already (`source_url`, `source_uri`)."""
    return _create(services(), body, caller, claim, 0)


@router.post("/batch", responses=documented(409, 413, 422))
@once(renewed=_all_signed_again, is_final=_nothing_to_retry)
def create_batch(
    body: CreateJobs, caller: Annotated[Principal, MAY_WRITE], claim: KeptAnswer | None = None
) -> CreatedJobs:
    """Create up to a hundred jobs. Each is made, or refused, by itself; a malformed request makes none.

    With an idempotency key, a batch of which some were refused for now can be sent again: the others are made once.
    """
    found = services()

    def made(number: int) -> BatchResult:
        try:
            return BatchResult(created=_create(found, body.jobs[number], caller, claim, number))
        except PipelineError as error:
            return BatchResult(problem=Problem(**problem_body(error, found.settings.public_url)))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return CreatedJobs(results=list(pool.map(made, range(len(body.jobs)))))


@router.get(
    "",
    openapi_extra={
        "parameters": [
            {
                "name": "metadata",
                "in": "query",
                "description": "As `metadata.KEY=VALUE`: only jobs that have this among their metadata. May repeat with"
                f" other keys, up to {MAX_METADATA_FILTERS} times.",
                "style": "form",
                "schema": {"type": "object", "maxProperties": 0},
            }
        ]
    },
)
def page(
    request: Request,
    caller: Annotated[Principal, MAY_READ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="The `next_cursor` of the page before.")] = None,
    state: Annotated[list[ListedState] | None, Query(max_length=8, description="May repeat: any of them.")] = None,
    owner_id: Annotated[str | None, Query(max_length=128)] = None,
    created_after: Annotated[Moment | None, Query(description="From this moment on.")] = None,
    created_before: Annotated[Moment | None, Query(description="Before this moment.")] = None,
) -> JobPage:
    """Jobs of your tenant, newest first. All filters must hold."""
    of = Selection(tenant_id=caller.tenant_id, owner_id=owner_id, metadata=_metadata(request))
    asked = (of.model_dump(), sorted(state or ()), created_after, created_before)
    found = list_jobs(
        services(),
        of,
        states=[JobState(name) for name in state or ()],
        limit=limit + 1,
        after=behind(cursor, *asked),
        created_after=created_after,
        created_before=created_before,
    )
    jobs, next_cursor = cut(found, limit, lambda job: job.job_id, *asked)
    return JobPage(data=[job_view(job) for job in jobs], next_cursor=next_cursor)


@router.post("/{job_id}/cancel", responses=documented(409))
@once()
def cancel(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> JobView:
    """End a job now."""
    find_job(services(), job_id, caller.tenant_id)
    return job_view(cancel_job(services(), job_id, actor=_actor(caller)))


@router.post("/{job_id}/retry", responses=documented(409))
@once()
def retry(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> JobView:
    """Try again what failed or was canceled, and what depends on it."""
    find_job(services(), job_id, caller.tenant_id)
    return job_view(retry_job(services(), job_id, actor=_actor(caller)))


@router.delete("/{job_id}", status_code=204)
def delete(job_id: str, caller: Annotated[Principal, MAY_WRITE]) -> None:
    """Have nothing of a job left: recording, results and status document."""
    find_job(services(), job_id, caller.tenant_id)
    delete_job(services(), job_id, actor=_actor(caller))


def _create(found: Services, body: CreateJob, caller: Principal, claim: KeptAnswer | None, number: int) -> CreatedJob:
    created = create_job(
        found,
        tenant_id=caller.tenant_id,
        content_type=body.content_type,
        options=body.options,
        size_bytes=body.size_bytes,
        resumable=body.upload == "resumable",
        deadline_s=body.deadline_s,
        claim=claim,
        number=number,
        source_url=body.source_url,
        source_uri=body.source_uri,
        reuse=body.reuse,
        filename=body.filename,
        owner_id=body.owner_id,
        metadata=dict(body.metadata),
        callback_url=body.callback.url if body.callback else "",
        retention_days=body.retention_days,
    )
    return CreatedJob(job=job_view(created.job), upload=created.upload)


def _metadata(request: Request) -> dict[str, str]:
    """Filters of the form ``metadata.KEY=VALUE``."""
    if "metadata" in request.query_params:
        raise PipelineError("request.invalid", "metadata: name a key, as in metadata.KEY=VALUE.", field="metadata")
    found = [
        (name.removeprefix(_METADATA), value)
        for name, value in request.query_params.multi_items()
        if name.startswith(_METADATA)
    ]
    if len(dict(found)) != len(found) or len(found) > MAX_METADATA_FILTERS:
        raise PipelineError(
            "request.invalid", f"metadata: up to {MAX_METADATA_FILTERS} different keys.", field="metadata"
        )
    return dict(found)


def _actor(caller: Principal) -> str:
    return caller.key_id or OWNER
