"""Jobs for recordings that are somewhere already: what is refused, and what is kept until one is fetched."""

from datetime import timedelta

from infra.wiring import Services
from shared.addresses import check_url
from shared.errors import PipelineError
from shared.jobs import Job
from shared.media import ObjectInfo, ObjectRef, check_size
from shared.sources import Source, is_in_inbox, may_be_read, source_object

# What the subscription of ``fetch`` filters by.
FETCHING_EVENTS = frozenset({"job.created"})


def check_source_url(services: Services, url: str) -> None:
    """Refuse a URL that nothing is fetched from.

    Raises:
        PipelineError: ``source.refused``.
    """
    try:
        check_url(url, services.settings.outbound_allow)
    except PipelineError as error:
        raise PipelineError("source.refused", error.message) from error


def find_object(services: Services, tenant_id: str, uri: str) -> ObjectInfo:
    """An object that a tenant may have transcribed where it is.

    Raises:
        PipelineError: ``source.not_found``, for one that is not there and for one that is not the tenant's alike;
            ``media.empty``, ``media.too_large``; ``request.invalid``; ``service.unavailable``.
    """
    ref, settings = source_object(uri), services.settings
    if not may_be_read(
        ref,
        tenant_id,
        listed=settings.buckets_by_tenant,
        uploads_bucket=settings.uploads_bucket,
        results_bucket=settings.results_bucket,
    ):
        raise PipelineError("source.not_found")
    try:
        found = services.objects.stat(ref)
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        raise PipelineError("source.not_found") from error
    check_size(found.size_bytes, settings.limits)
    return found


def keep_url(services: Services, job: Job, url: str) -> None:
    """Keep where a job's recording is to be fetched from. Before the job is there, so that none is without it.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    source = Source(
        document_id=job.job_id,
        tenant_id=job.tenant_id,
        url=url,
        give_up_at=job.created_at + timedelta(seconds=services.settings.source_retry_for_s),
        expires_at=job.upload_expires_at,
    )
    try:
        services.documents.create(source)
    except PipelineError as error:
        if error.code != "document.exists":
            raise


def fetch_life(services: Services) -> timedelta:
    """How long a job waits for what is fetched for it."""
    settings = services.settings
    return timedelta(seconds=settings.source_retry_for_s + settings.source_timeout_s)


def forget_url(services: Services, job_id: str) -> None:
    """Keep nothing of a source that is not needed any more.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    services.documents.delete(Source, job_id)


def is_ours(services: Services, job: Job, ref: ObjectRef) -> bool:
    """Whether a job's recording is ours to delete: uploaded, fetched, or put into the inbox."""
    bucket = services.settings.uploads_bucket
    own = ref.bucket == bucket and ref.name == f"{job.tenant_id}/{job.job_id}/media"
    return own or is_in_inbox(ref, job.tenant_id, bucket)
