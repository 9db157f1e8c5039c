"""From a request to a validated recording."""

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Unpack

from infra.observability.context import traceparent_for_new
from infra.observability.tracing import span
from infra.pipeline.callbacks import keep_callback
from infra.pipeline.endpoints import check_webhook_url
from infra.pipeline.outbox import publish_committed
from infra.pipeline.reuse import with_earlier_results
from infra.pipeline.sources import check_source_url, fetch_life, find_object, keep_url
from infra.wiring import Services
from shared.advance import Step, advance, new_job
from shared.errors import PipelineError, of_field
from shared.events import Fact, MediaReceived, MediaRejected, MediaValidated
from shared.jobs import About, Job, JobState
from shared.keys import is_tenant
from shared.media import Media, ObjectInfo, ObjectRef, check_duration, check_size, check_type
from shared.options import JobOptions
from shared.repeats import KeptAnswer
from shared.requests import SignedRequest
from shared.retention import Retention
from shared.sources import INBOX, MAX_FILENAME_CHARACTERS, origin_of, shown_url
from shared.stages import STAGES, check_stages
from shared.weights import DEFAULT_MODELS, find_model

UNFINISHED = tuple(state for state in JobState if not state.is_terminal)
# Of jobs that have to end first nobody knows when they will.
_NO_ROOM_RETRY_S = 30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewJob:
    """A job that waits for its recording, and the request that uploads it, unless that is somewhere already."""

    job: Job
    upload: SignedRequest | None


def create_job(
    services: Services,
    *,
    tenant_id: str,
    content_type: str,
    options: JobOptions,
    size_bytes: int | None = None,
    resumable: bool = False,
    deadline_s: float | None = None,
    claim: KeptAnswer | None = None,
    number: int = 0,
    source_url: str | None = None,
    source_uri: str | None = None,
    **about: Unpack[About],
) -> NewJob:
    """Create a job and sign the upload of its recording, if it is to be uploaded.

    Args:
        services: Of this process.
        tenant_id: Whose job it is.
        content_type: Of the upload.
        options: Of the job.
        size_bytes: Of the upload, if known.
        resumable: Whether to sign a request that opens a session.
        deadline_s: After how long the job fails if it has not ended.
        claim: Of a request that may be repeated: what an earlier try has made is found by it.
        number: Which of the jobs it is that the request makes.
        source_url: Where the recording is to be fetched from.
        source_uri: Of the object that is the recording.
        about: What else the caller says of it.

    Raises:
        PipelineError: ``source.refused``, ``source.not_found``;
            ``media.empty`` or ``media.too_large`` for a size that is known and not accepted;
            ``model.unknown``; ``request.invalid`` for a language the model does not know; ``request.contradictory``
            for a choice of stages that makes no sense; ``outbound.refused`` for a callback;
            ``tenant.too_many_jobs``; ``service.unavailable``.
    """
    _check_model(options)
    with of_field("options.stages"):
        check_stages(options, STAGES)
    if size_bytes is not None:
        with of_field("size_bytes"):
            check_size(size_bytes, services.settings.limits)
    if url := about.get("callback_url"):
        with of_field("callback.url"):
            check_webhook_url(services, url)
        about["callback_url"] = origin_of(url)
    if source_url:
        with of_field("source_url"):
            check_source_url(services, source_url)
        about["source"] = shown_url(source_url)
    with of_field("source_uri"):
        there = find_object(services, tenant_id, source_uri) if source_uri else None
    if source_uri and there:
        about["source"] = source_uri
        about["filename"] = about.get("filename") or there.name.rpartition("/")[2][-MAX_FILENAME_CHARACTERS:]
    now = services.clock.now()
    job_id = f"{first_id_at(now)}{secrets.token_hex(8)}"
    if claim is not None:
        job_id = f"{first_id_at(claim.begun_at)}{claim.derived(number)}"
    job = _existing(services, job_id) if claim is not None and claim.tries > 1 else None
    if job is None:
        _check_room(services, tenant_id)
        about["traceparent"] = traceparent_for_new()
        if deadline_s is not None:
            about["deadline_at"] = now + timedelta(seconds=deadline_s)
        step = new_job(
            job_id=job_id,
            tenant_id=tenant_id,
            options=options,
            upload_expires_at=now
            + (fetch_life(services) if source_url else timedelta(seconds=services.settings.upload_expires_s)),
            now=now,
            **about,
        )
        if source_url:
            keep_url(services, step.job, source_url)
        if url:
            keep_callback(services, step.job, url)
        if there:
            step = Step(advance(step.job, MediaReceived(object=there), now).job, step.events)
        job = _created(services, step)
    publish_committed(services, job.job_id)
    if job.source:
        return NewJob(job, None)
    return NewJob(job, sign_upload(services, job, content_type=content_type, resumable=resumable))


def sign_upload(services: Services, job: Job, *, content_type: str, resumable: bool) -> SignedRequest:
    """The request that uploads a job's recording.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    return services.objects.sign_upload(
        upload_ref(services, job.tenant_id, job.job_id),
        content_type=content_type,
        max_bytes=services.settings.max_size_bytes,
        expires_s=services.settings.upload_expires_s,
        resumable=resumable,
    )


def _existing(services: Services, job_id: str) -> Job | None:
    try:
        return services.jobs.get(job_id)
    except PipelineError as error:
        if error.code != "job.not_found":
            raise
        return None


def _created(services: Services, step: Step) -> Job:
    job = step.job
    if job.retention_days is not None:
        due_at = job.created_at + timedelta(days=job.retention_days)
        # First, so that no job is without it; one without a job is removed when it is due.
        retention = Retention(document_id=job.job_id, tenant_id=job.tenant_id, days=job.retention_days, due_at=due_at)
        try:
            services.documents.create(retention)
        except PipelineError as error:
            if error.code != "document.exists":
                raise
    try:
        services.jobs.create(step)
    except PipelineError as error:
        if error.code != "job.exists":
            raise
        return services.jobs.get(job.job_id)
    return job


def _check_room(services: Services, tenant_id: str) -> None:
    limit = services.settings.max_active_jobs
    if limit is not None and services.jobs.count(*UNFINISHED, tenant_id=tenant_id, limit=limit) >= limit:
        raise PipelineError(
            "tenant.too_many_jobs",
            f"{limit} jobs have not ended yet; no more are accepted.",
            retry_after_s=_NO_ROOM_RETRY_S,
            limit=limit,
        )


def first_id_at(moment: datetime) -> str:
    """What sorts before the id of every job that was created from a moment on, and behind all others.

    Ids sort by time, so that a list of jobs is in the order of their creation in every store.
    """
    return f"job_{max(0, int(moment.timestamp() * 1000)):012x}"


def _check_model(options: JobOptions) -> None:
    with of_field("options.model"):
        model = find_model(options.model or DEFAULT_MODELS["transcribe"], "transcribe")
    if options.language and model.languages and options.language not in model.languages:
        known = ", ".join(model.languages)
        raise PipelineError(
            "request.invalid",
            f"Model '{model.alias}' knows {known} only, not '{options.language}'.",
            field="options.language",
        )


def upload_ref(services: Services, tenant_id: str, job_id: str) -> ObjectRef:
    """Where a job's recording goes. The caller's file name stays out of it: it is anyone's text."""
    return ObjectRef(bucket=services.settings.uploads_bucket, name=f"{tenant_id}/{job_id}/media")


def receive_upload(services: Services, uploaded: ObjectInfo) -> None:
    """Validate a finalized upload and say so. Safe to repeat at any point.

    Raises:
        PipelineError: Retryable ones only, so that the event is delivered again.
    """
    match uploaded.name.split("/"):
        case [folder, tenant_id, *_, filename] if folder == INBOX and is_tenant(tenant_id) and filename:
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
    if job.media and job.media.object.uri == uploaded.uri:
        validate_received(services, job)
    else:
        publish_committed(services, job_id)


def validate_received(services: Services, job: Job) -> None:
    """Validate the recording of a job that has one, unless that is done, and say so. Safe to repeat at any point.

    Raises:
        PipelineError: Retryable ones only.
    """
    if job.state is JobState.VALIDATING and job.media:
        with span("validate", job.traceparent, job_id=job.job_id, tenant_id=job.tenant_id):
            verdict = _validate(services, job.media)
            if isinstance(verdict, MediaValidated):
                verdict = with_earlier_results(services, job, verdict)
        services.jobs.update(job.job_id, lambda job: advance(job, verdict, services.clock.now()))
    publish_committed(services, job.job_id)


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
        traceparent=traceparent_for_new(),
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
