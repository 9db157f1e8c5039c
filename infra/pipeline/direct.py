"""Recordings that come within a request, and are waited for: they go the way of every other."""

import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from typing import BinaryIO

from infra.pipeline.following import follower
from infra.pipeline.intake import create_job
from infra.wiring import Services
from shared.errors import CATALOGUE, PipelineError
from shared.jobs import Job, JobState
from shared.options import JobOptions
from shared.repeats import KeptAnswer
from shared.requests import SignedRequest

_SEND_S = 60.0
# An earlier try has sent it.
_EXISTS = 412


def take_in(
    services: Services,
    *,
    tenant_id: str,
    filename: str,
    options: JobOptions,
    content: BinaryIO,
    size_bytes: int,
    claim: KeptAnswer | None = None,
) -> Job:
    """Create a job and upload its recording by the request that an app would have sent.

    Args:
        services: Of this process.
        tenant_id: Whose job it is.
        filename: Shown back.
        options: Of the job.
        content: The recording, from its start.
        size_bytes: Its length.
        claim: Of a request that may be repeated: the job that an earlier try has made is found by it.

    Raises:
        PipelineError: Those of ``create_job``; ``job.not_found`` where the earlier try's job was deleted;
            ``service.unavailable`` when the object store took nothing.
    """
    created = create_job(
        services,
        tenant_id=tenant_id,
        filename=filename,
        content_type="application/octet-stream",  # what a form says of a file is a guess from its name
        options=options,
        size_bytes=size_bytes,
        claim=claim,
    )
    job = created.job
    if job.state.is_gone:
        raise PipelineError("job.not_found", f"There is no job '{job.job_id}' any more.", job_id=job.job_id)
    if job.state is JobState.AWAITING_UPLOAD and created.upload is not None:
        _send(created.upload, content, size_bytes)
    return job


def _send(upload: SignedRequest, content: BinaryIO, size_bytes: int) -> None:
    # Of the standard library, because a function loads no other client; a file is sent without being in memory.
    headers = {**upload.headers, "content-length": str(size_bytes)}
    request = urllib.request.Request(upload.url, data=content, headers=headers, method=upload.method)  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=_SEND_S).close()  # noqa: S310 - a URL of our own store
    except urllib.error.HTTPError as error:
        if error.code != _EXISTS:
            raise PipelineError("service.unavailable", "The object store did not take the recording.") from error
    except (OSError, urllib.error.URLError) as error:
        raise PipelineError("service.unavailable", "The object store did not take the recording.") from error


async def followed(services: Services, job: Job, *, wait_s: float) -> AsyncGenerator[Job]:
    """A job at its changes, until it has ended.

    Raises:
        PipelineError: ``job.not_found``; ``job.unfinished`` when it has not ended in time.
    """
    deadline = time.monotonic() + wait_s
    async with follower.watch(services, job) as watch:
        while not job.state.is_terminal:
            changed = await watch.later_than(job.revision, deadline - time.monotonic())
            if changed is None:
                raise PipelineError("job.unfinished", job_id=job.job_id)
            job = changed
            yield job


def check_completed(job: Job) -> None:
    """Raise why a job ended without a transcript, if it did.

    Raises:
        PipelineError: The job's own error; ``job.no_transcript`` for one that was stopped.
    """
    if job.state is JobState.COMPLETED:
        return
    if job.error is not None and job.error.code in CATALOGUE:
        raise PipelineError(job.error.code, job.error.message)
    raise PipelineError("job.no_transcript", f"The job was {job.state}.")
