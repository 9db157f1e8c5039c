"""Fetching a recording from where a job says it is, into the uploads bucket: the way of every other begins there."""

import logging
from collections.abc import Iterator

import httpcore

from infra.observability.tracing import span
from infra.outbound import outbound
from infra.pipeline.intake import sign_upload, upload_ref, validate_received
from infra.pipeline.outbox import publish_committed
from infra.pipeline.sources import forget_url
from infra.wiring import Services
from shared.advance import advance
from shared.errors import PipelineError
from shared.events import Event, Fact, JobCreated, SourceFailed, SourceOpened
from shared.jobs import Job, JobState
from shared.requests import SignedRequest
from shared.sources import Source, content_type_of, failure_of, filename_of, may_pass

log = logging.getLogger(__name__)

# The store answers once it has all, and may look at all of it first.
_STORE_S = {"connect": 5.0, "pool": 5.0, "write": 60.0, "read": 120.0}
_EXISTS = 412


def fetch_source(services: Services, event: Event) -> None:
    """Fetch what a new job says, unless that is done. Safe to repeat, in any order.

    An object that is there already is validated where it is.

    Raises:
        PipelineError: One after which the same may succeed later, so that the event is delivered again.
    """
    fact = event.fact
    if not isinstance(fact, JobCreated) or not fact.has_source:
        return
    try:
        job = services.jobs.get(event.jobid)
    except PipelineError as error:
        if error.code != "job.not_found":
            raise
        return
    if job.state is JobState.VALIDATING and job.source.startswith("gs://"):
        validate_received(services, job)
    elif job.state is JobState.AWAITING_UPLOAD:
        with span("fetch", event.traceparent, job_id=job.job_id, tenant_id=job.tenant_id):
            _fetch(services, job)
    forget_url(services, job.job_id)


def _fetch(services: Services, job: Job) -> None:
    try:
        source = services.documents.get(Source, job.job_id)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return  # it was fetched, or given up
    if _is_there(services, job):
        return
    try:
        _transfer(services, job, source)
    except PipelineError as error:
        # A service of our own that is away is no failure of the source.
        if error.code == "service.unavailable" or (may_pass(error) and services.clock.now() < source.give_up_at):
            raise
        log.info("nothing could be fetched for %s: %s", job.job_id, error)
        _commit(services, job, SourceFailed(error=failure_of(error).info))
        publish_committed(services, job.job_id)


def _transfer(services: Services, job: Job, source: Source) -> None:
    settings, limit_s = services.settings, services.settings.source_timeout_s
    if job.deadline_at is not None:
        limit_s = min(limit_s, (job.deadline_at - services.clock.now()).total_seconds())
    with outbound(settings).open_source(source.url, limit_s=limit_s, max_bytes=settings.max_size_bytes) as found:
        answer, content = found
        headers = answer.headers
        filename = filename_of(source.url, headers.get("content-disposition", ""))
        _commit(services, job, SourceOpened(filename=filename))
        content_type = content_type_of(headers.get("content-type", ""))
        upload = sign_upload(services, job, content_type=content_type, resumable=False)
        _send(upload, content, headers.get("content-length", ""))


def _send(upload: SignedRequest, content: Iterator[bytes], length: str) -> None:
    """Upload while it arrives: what breaks off is no object, because its end is missing."""
    headers = {**upload.headers, **({"content-length": length} if length.isdecimal() else {})}
    try:
        with httpcore.ConnectionPool() as pool:
            answer = pool.request(
                upload.method,
                upload.url,
                headers=list(headers.items()),
                content=content,
                extensions={"timeout": _STORE_S},
            )
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise PipelineError("service.unavailable", "The object store did not take the recording.") from error
    if not 200 <= answer.status < 300 and answer.status != _EXISTS:
        raise PipelineError("service.unavailable", f"The object store answered by status {answer.status}.")


def _is_there(services: Services, job: Job) -> bool:
    try:
        services.objects.stat(upload_ref(services, job.tenant_id, job.job_id))
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        return False
    return True


def _commit(services: Services, job: Job, fact: Fact) -> None:
    services.jobs.update(job.job_id, lambda before: advance(before, fact, services.clock.now()))
