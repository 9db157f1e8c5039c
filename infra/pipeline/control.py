"""What someone wants of a job that is there: to stop it, to try again what failed, to have nothing of it left.

A wish is a change of the document and an event, nothing else, so that it can be made where nothing else is at hand: by
the API, which knows no runner, and by the command line beside a cloud that runs or not. What follows from it is done by
whoever hears of the event.
"""

from infra.pipeline.dispatch import URL_GRACE_S, URL_LIFE_S, artifact_ref
from infra.pipeline.intake import upload_ref
from infra.pipeline.outbox import Stores, publish_committed
from infra.wiring import Services
from shared.advance import advance
from shared.endings import calls_under_way
from shared.errors import PipelineError
from shared.events import Fact, JobCanceled, JobDeleted, JobErased, JobRetried
from shared.jobs import Job, JobState
from shared.stages import STAGES

# After these events calls may be under way that nobody waits for.
STOPPING_EVENTS = frozenset({"job.canceled", "job.deleted", "job.failed"})


def find_job(stores: Stores, job_id: str, tenant_id: str | None = None) -> Job:
    """A job of a tenant, or of anyone, unless it was deleted.

    Raises:
        PipelineError: ``job.not_found``.
    """
    job = stores.jobs.get(job_id)
    if job.state.is_gone or tenant_id not in (None, job.tenant_id):
        raise PipelineError("job.not_found", f"There is no job '{job_id}'.", job_id=job_id)
    return job


def cancel_job(stores: Stores, job_id: str) -> Job:
    """End a job now. What runs for it is stopped within seconds; what it has written stays until it is deleted.

    Raises:
        PipelineError: ``job.not_found``; ``job.not_cancelable`` for one that has ended otherwise.
    """
    return _wish(stores, job_id, JobCanceled(), (JobState.CANCELED,), "job.not_cancelable")


def retry_job(stores: Stores, job_id: str) -> Job:
    """Try again what failed or was canceled, and what depends on it; what was completed stays.

    Raises:
        PipelineError: ``job.not_found``, ``job.not_retryable``.
    """
    return _wish(stores, job_id, JobRetried(), (JobState.RUNNING, JobState.VALIDATING), "job.not_retryable")


def delete_job(stores: Stores, job_id: str) -> None:
    """Have nothing of a job left but a line of the audit log: that it was there, whose, and when.

    Its objects are removed at once, by whoever hears of it, and once more when no URL is good any more by which one
    could have come back.

    Raises:
        PipelineError: ``job.not_found``; not for a job that is being deleted already.
    """
    _change(stores, job_id, JobDeleted())


def stop_calls(services: Services, job: Job) -> None:
    """Stop what runs for a job that has ended. Safe to repeat.

    Raises:
        PipelineError: ``service.unavailable`` when the runner does not answer.
    """
    if job.state.is_terminal:
        for call_id in calls_under_way(job):
            services.runner.cancel(call_id)


def erase(services: Services, job: Job) -> None:
    """Remove the objects and the history of a job that is being deleted. Safe to repeat.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    if not job.state.is_gone:
        return
    services.objects.delete(upload_ref(services, job.tenant_id, job.job_id))
    if job.media is not None:  # elsewhere, if it came through the inbox
        services.objects.delete(job.media.object)
    for stage in STAGES.values():
        for product in stage.products:
            services.objects.delete(artifact_ref(services, job, product))
    services.jobs.erase_history(job.job_id)


def finish_erasure(services: Services, job: Job) -> bool:
    """Erase a job for good, once nothing can bring a part of it back; whether it was time for that."""
    age_s = (services.clock.now() - job.updated_at).total_seconds()
    # The grace is for a dispatcher that had claimed a stage before and signs its URLs a little after the deletion.
    last_url_s = max(URL_LIFE_S, services.settings.upload_expires_s) + URL_GRACE_S
    if job.state is not JobState.DELETING or age_s < last_url_s:
        return False
    erase(services, job)
    _change(services, job.job_id, JobErased())
    return True


def _wish(stores: Stores, job_id: str, fact: Fact, wanted: tuple[JobState, ...], refusal: str) -> Job:
    find_job(stores, job_id)
    job = _change(stores, job_id, fact)
    if job.state not in wanted:
        raise PipelineError(refusal, f"The job is {job.state}.", state=job.state)
    return job


def _change(stores: Stores, job_id: str, fact: Fact) -> Job:
    job = stores.jobs.update(job_id, lambda job: advance(job, fact, stores.clock.now())).job
    publish_committed(stores, job_id)
    return job
