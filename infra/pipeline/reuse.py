"""A job takes the results that an earlier one of its tenant has for the same recording and options.

They are copied into the job's own folder before it is said to be validated, so that either job can be deleted and the
other stays whole. Its stages are then started as always, and those whose results lie there are done. What goes wrong
here costs nothing but the work that it would have saved.
"""

import logging
from datetime import timedelta

from infra.pipeline.artifacts import artifact_ref, stored_artifacts, write_once
from infra.pipeline.outbox import Stores
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import MediaValidated, StageCompleted
from shared.jobs import Job
from shared.media import ObjectInfo
from shared.reuse import Earlier, can_be_reused, reuse_id, reused_stages
from shared.stages import Stage

log = logging.getLogger(__name__)


def with_earlier_results(services: Services, job: Job, verdict: MediaValidated) -> MediaValidated:
    """The verdict on a recording, with the earlier job whose results the job now has, if there is one."""
    if not job.reuse or not services.settings.reuse_days:
        return verdict
    try:
        earlier = _find(services, job, verdict.media.object)
        if earlier is None:
            return verdict
        _copy(services, earlier, job)
    except PipelineError as error:
        log.info("%s takes no earlier results: %s", job.job_id, error)
        return verdict
    return verdict.model_copy(update={"reused_from": earlier.job_id, "notices": earlier.notices})


def reused(services: Services, job: Job, stage: Stage) -> StageCompleted | None:
    """The end of a stage that an earlier job has done; ``None`` where it is to be run.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    if not job.reused_from:
        return None
    try:
        artifacts = stored_artifacts(services, job, stage)
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        return None
    return StageCompleted(stage=stage.name, attempt=job.stages[stage.name].attempt, artifacts=artifacts)


def remember(services: Services, job: Job) -> None:
    """Keep that a completed job has results. They are found or not: nobody relies on it."""
    document_id = _id(job)
    if document_id is None or not services.settings.reuse_days:
        return
    expires_at = services.clock.now() + timedelta(days=services.settings.reuse_days)
    update = {"job_id": job.job_id, "expires_at": expires_at}
    document = Earlier(document_id=document_id, tenant_id=job.tenant_id, job_id=job.job_id, expires_at=expires_at)
    try:
        try:
            services.documents.create(document)
        except PipelineError as error:
            if error.code != "document.exists":
                raise
            services.documents.update(Earlier, document_id, lambda before: before.model_copy(update=update))
    except PipelineError as error:
        log.info("the results of %s will not be found: %s", job.job_id, error)


def forget(stores: Stores, job: Job) -> None:
    """Keep nothing of a job that is about to be deleted.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    document_id = _id(job)
    if document_id is None:
        return
    try:
        if stores.documents.get(Earlier, document_id).job_id == job.job_id:
            stores.documents.delete(Earlier, document_id)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise


def _id(job: Job) -> str | None:
    try:
        return reuse_id(job.tenant_id, job.media.object, job.options) if job.media else None
    except PipelineError:  # a model that was known when the job was made
        return None


def _find(services: Services, job: Job, media: ObjectInfo) -> Job | None:
    document_id = reuse_id(job.tenant_id, media, job.options)
    if document_id is None:
        return None
    try:
        found = services.documents.get(Earlier, document_id)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return None
    if found.expires_at is None or found.expires_at <= services.clock.now():
        return None
    earlier = services.jobs.get(found.job_id)
    return earlier if can_be_reused(earlier, job) else None


def _copy(services: Services, earlier: Job, job: Job) -> None:
    for stage in reused_stages(job.options):
        artifacts = {artifact.filename: artifact.object for artifact in earlier.stages[stage.name].artifacts}
        for product in stage.products:
            content = services.objects.read(artifacts[product.filename])
            write_once(services, artifact_ref(services, job, product), content, product.content_type)
