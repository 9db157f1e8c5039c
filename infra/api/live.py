"""Following a job: its document, with or without waiting for the next change, and a stream of all changes."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from infra.api.access import allowed
from infra.api.openapi import EVENTS
from infra.api.problems import documented
from infra.api.tags import IfNoneMatch, is_known, tag_headers, tagged, unchanged
from infra.api.views import JobView, job_view
from infra.pipeline.control import find_job
from infra.pipeline.following import follower
from infra.wiring import Services, services
from shared.errors import PipelineError
from shared.jobs import Job
from shared.keys import Principal

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], responses=documented(400, 401, 403, 404, 429, 503))

MAX_WAIT_S = 60.0
# How long a client of the stream waits before it connects again.
_RETRY_MS = 2000
# Proxies close connections on which nothing comes.
_PING_S = 15.0
_MAX_REVISION = 2**53 - 1


async def own_job(job_id: str, caller: Annotated[Principal, allowed("jobs:read")]) -> Job:
    """The job of the path, if it is the caller's."""
    found = services()
    if found.jobs.is_near:
        return find_job(found, job_id, caller.tenant_id)
    return await run_in_threadpool(find_job, found, job_id, caller.tenant_id)


_TAGGED = tagged("The revision, in quotes.", "The revision is the one of If-None-Match.")
_TAGGED[200]["model"] = JobView
OwnJob = Annotated[Job, Depends(own_job)]


@router.get(
    "",
    response_model=None,
    responses=_TAGGED,
)
async def status(
    job: OwnJob,
    wait_s: Annotated[
        float,
        Query(ge=0, le=MAX_WAIT_S, description="How long to wait for another revision, unless the job has ended."),
    ] = 0.0,
    after_revision: Annotated[
        int | None,
        Query(
            ge=0,
            le=_MAX_REVISION,
            description="The revision you have; that of If-None-Match, or else the present one, if left out.",
        ),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The status document of a job, at once or as soon as it changes."""
    if wait_s and not job.state.is_terminal:
        seen = after_revision if after_revision is not None else _revision(job, if_none_match)
        if seen == job.revision:
            async with follower.watch(services(), job) as watch:
                job = await watch.later_than(job.revision, wait_s) or job
    if is_known(job.revision, if_none_match):
        return unchanged(job.revision)
    content = job_view(job).model_dump_json()
    return Response(content, media_type="application/json", headers=tag_headers(job.revision))


@router.get(
    "/events",
    # Not the framework's own class for such streams: its routes cannot answer 204.
    response_class=StreamingResponse,
    response_model=None,
    responses={
        200: {"description": "Events.", "content": {"text/event-stream": EVENTS}},
        204: {"description": "The job has ended and you know: do not come again."},
    },
)
async def events(
    job: OwnJob,
    last_event_id: Annotated[
        int, Header(ge=0, le=_MAX_REVISION, description="The id of the last event you got: goes on behind it.")
    ] = 0,
    after_revision: Annotated[
        int | None, Query(ge=0, le=_MAX_REVISION, description="The same, for clients that cannot set headers.")
    ] = None,
) -> Response:
    """Every change of a job as Server-Sent Events, until it has ended.

    ``status`` holds the status document. ``passed`` holds ``job_id``, ``state``, ``revision`` and ``at`` of a state
    that the job has left again before it could be told. ``end`` holds ``job_id``, ``state`` and ``revision``, and
    nothing comes behind it. The id of an event is the revision: send the last one as ``Last-Event-ID``, as browsers do
    by themselves, and no state is told twice or left out. After some minutes the stream breaks off to be resumed so.
    """
    seen = last_event_id or after_revision or 0
    # A revision that is still to come was never told.
    seen = seen if seen <= job.revision else 0
    if job.state.is_terminal and seen == job.revision:
        return Response(status_code=204)
    return EventSourceResponse(_stream(services(), job, seen), headers={"x-accel-buffering": "no"})


async def _stream(found: Services, job: Job, seen: int) -> AsyncIterator[bytes]:
    ends = time.monotonic() + found.settings.stream_max_s
    yield format_sse_event(retry=_RETRY_MS)
    async with follower.watch(found, job) as watch:
        while True:
            for event in _told(job, seen):
                yield event
            seen = job.revision
            if job.state.is_terminal:
                return
            while True:
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    return
                try:
                    later = await watch.later_than(seen, min(_PING_S, left_s))
                except PipelineError:
                    yield _event("end", seen, {"job_id": job.job_id, "state": "deleted", "revision": seen})
                    return
                if later is not None:
                    break
                yield format_sse_event(comment="ping")
            job = later


def _told(job: Job, seen: int) -> Iterator[bytes]:
    """What someone gets to hear who knows a job as of a revision."""
    for change in job.history:
        if seen < change.revision < job.revision:
            yield _event("passed", change.revision, {"job_id": job.job_id, **change.model_dump(mode="json")})
    if job.revision > seen:
        yield format_sse_event(event="status", data_str=job_view(job).model_dump_json(), id=str(job.revision))
    if job.state.is_terminal:
        yield _event("end", job.revision, {"job_id": job.job_id, "state": job.state, "revision": job.revision})


def _event(name: str, revision: int, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data), id=str(revision))


def _revision(job: Job, if_none_match: str | None) -> int | None:
    """The revision that a client has: with a tag of another one, none that would have to be waited out."""
    return job.revision if if_none_match is None or is_known(job.revision, if_none_match) else None
