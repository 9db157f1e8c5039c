"""From a request to a validated recording."""

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.pipeline.outbox import publish_committed
from infra.wiring import Services
from shared.advance import Step, advance, new_job
from shared.errors import PipelineError
from shared.events import Fact, MediaReceived, MediaRejected, MediaValidated
from shared.jobs import Job, JobState
from shared.media import Media, ObjectInfo, ObjectRef, check_duration, check_size, check_type
from shared.options import JobOptions
from shared.requests import SignedRequest
from shared.weights import DEFAULT_MODELS, find_model

# Recordings below this folder of the uploads bucket, then a tenant's, need no job first: one is made for each.
INBOX = "inbox"
MAX_FILENAME_CHARACTERS = 255

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewJob:
    """A job that waits for its upload, and the request that uploads it."""

    job: Job
    upload: SignedRequest


def create_job(
    services: Services,
    *,
    tenant_id: str,
    filename: str,
    content_type: str,
    options: JobOptions,
    size_bytes: int | None = None,
    resumable: bool = False,
    owner_id: str = "",
    deadline_s: float | None = None,
) -> NewJob:
    """Create a job and sign the upload of its recording.

    Raises:
        PipelineError: ``media.empty`` or ``media.too_large`` for a size that is known and not accepted;
            ``model.unknown``; ``request.invalid`` for a language the model does not know; ``service.unavailable``.
    """
    _check_model(options)
    if size_bytes is not None:
        check_size(size_bytes, services.settings.limits)
    now = services.clock.now()
    expires_s = services.settings.upload_expires_s
    job_id = f"{first_id_at(now)}{secrets.token_hex(8)}"
    upload = services.objects.sign_upload(
        upload_ref(services, tenant_id, job_id),
        content_type=content_type,
        max_bytes=services.settings.max_size_bytes,
        expires_s=expires_s,
        resumable=resumable,
    )
    step = new_job(
        job_id=job_id,
        tenant_id=tenant_id,
        filename=filename,
        owner_id=owner_id,
        deadline_at=None if deadline_s is None else now + timedelta(seconds=deadline_s),
        options=options,
        upload_expires_at=now + timedelta(seconds=expires_s),
        now=now,
    )
    services.jobs.create(step)
    publish_committed(services, job_id)
    return NewJob(step.job, upload)


def first_id_at(moment: datetime) -> str:
    """What sorts before the id of every job that was created from a moment on, and behind all others.

    Ids sort by time, so that a list of jobs is in the order of their creation in every store.
    """
    return f"job_{int(moment.timestamp() * 1000):012x}"


def _check_model(options: JobOptions) -> None:
    model = find_model(options.model or DEFAULT_MODELS["transcribe"], "transcribe")
    if options.language and model.languages and options.language not in model.languages:
        known = ", ".join(model.languages)
        raise PipelineError("request.invalid", f"Model '{model.alias}' knows {known} only, not '{options.language}'.")


def upload_ref(services: Services, tenant_id: str, job_id: str) -> ObjectRef:
    """Where a job's recording goes. The caller's file name stays out of it: it is anyone's text."""
    return ObjectRef(bucket=services.settings.uploads_bucket, name=f"{tenant_id}/{job_id}/media")


def receive_upload(services: Services, uploaded: ObjectInfo) -> None:
    """Validate a finalized upload and say so. Safe to repeat at any point.

    Raises:
        PipelineError: Retryable ones only, so that the event is delivered again.
    """
    match uploaded.name.split("/"):
        case [folder, tenant_id, *_, filename] if folder == INBOX and tenant_id and filename:
            job_id = _take_in(services, uploaded, tenant_id, filename)
        case [_, job_id, "media"]:
            pass
        case _:
            log.warning("an upload of no job was ignored: %s", uploaded.uri)
            return
    try:
        job = services.jobs.update(
            job_id, lambda job: advance(job, MediaReceived(object=uploaded), services.clock.now())
        ).job
    except PipelineError as error:
        if error.code != "job.not_found":
            raise
        log.warning("an upload of an unknown job was ignored: %s", uploaded.uri)
        return
    if job.state.is_gone:  # it came by a URL that was good a moment longer than the job
        services.objects.delete(uploaded)
    if job.state is JobState.VALIDATING and job.media and job.media.object.uri == uploaded.uri:
        verdict = _validate(services, job.media)
        services.jobs.update(job_id, lambda job: advance(job, verdict, services.clock.now()))
    publish_committed(services, job_id)


def _take_in(services: Services, uploaded: ObjectInfo, tenant_id: str, filename: str) -> str:
    """A job for a recording that was put into the inbox: one for each version of the object, however often told."""
    # Generations are microseconds, so the id sorts as those of other jobs do.
    arrived_at = datetime.fromtimestamp((uploaded.generation or 0) / 1_000_000, UTC)
    job_id = f"{first_id_at(arrived_at)}{hashlib.sha256(uploaded.uri.encode()).hexdigest()[:16]}"
    now = services.clock.now()
    new = new_job(
        job_id=job_id,
        tenant_id=tenant_id,
        filename=filename[-MAX_FILENAME_CHARACTERS:],
        options=JobOptions(),
        upload_expires_at=now,
        now=now,
    )
    received = advance(new.job, MediaReceived(object=uploaded), now)
    try:
        services.jobs.create(Step(received.job, new.events))
    except PipelineError as error:
        if error.code != "job.exists":
            raise
    return job_id


def _validate(services: Services, media: Media) -> Fact:
    limits = services.settings.limits
    try:
        check_size(media.object.size_bytes, limits)
        probe = services.prober.probe(media.object)
        check_type(media.object.content_type, probe.container)
        check_duration(probe.duration_s, limits)
    except PipelineError as error:
        if error.retryable:
            raise
        return MediaRejected(error=error.info)
    return MediaValidated(media=media.model_copy(update={"probe": probe}))
