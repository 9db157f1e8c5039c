"""What someone wants of a job that is there: to stop it, to try again what failed, to have nothing of it left.

A wish is a change of the document and an event, nothing else, so that it can be made where nothing else is at hand: by
the API, which knows no runner, and by the command line beside a cloud that runs or not. What follows from it is done by
whoever hears of the event.
"""

from collections.abc import Sequence
from datetime import datetime

from infra.pipeline.audit import note
from infra.pipeline.callbacks import forget_callback
from infra.pipeline.dispatch import URL_GRACE_S, URL_LIFE_S, artifact_ref
from infra.pipeline.intake import first_id_at, upload_ref
from infra.pipeline.outbox import Stores, publish_committed
from infra.pipeline.reuse import forget
from infra.pipeline.sources import forget_url, is_ours
from infra.pipeline.versions import erase_versions
from infra.wiring import Services
from shared.advance import advance
from shared.endings import calls_under_way
from shared.errors import PipelineError
from shared.events import Fact, JobCanceled, JobDeleted, JobErased, JobRetried
from shared.jobs import Job, JobState, Selection
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


def list_jobs(
    stores: Stores,
    of: Selection,
    *,
    states: Sequence[JobState] = (),
    limit: int = 100,
    after: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> Sequence[Job]:
    """Jobs of a tenant that are not deleted, newest first.

    Args:
        stores: Where they are.
        of: Whose and which.
        states: Which they are in; any if left out.
        limit: Of how many.
        after: Goes on behind this id.
        created_after: Not before this moment.
        created_before: Before this moment.
    """
    wanted = [state for state in states or JobState if not state.is_gone]
    if not wanted:
        return ()
    # Ids sort by time, so that a span of time is a span of ids.
    after = after or (first_id_at(created_before) if created_before else None)
    down_to = first_id_at(created_after) if created_after else None
    return stores.jobs.list(states=wanted, limit=limit, after=after, down_to=down_to, of=of)


def cancel_job(stores: Stores, job_id: str, *, actor: str = "") -> Job:
    """End a job now. What runs for it is stopped within seconds; what it has written stays until it is deleted.

    Args:
        stores: Where it is.
        job_id: Of the job.
        actor: Who wants it, for the audit log; nothing is noted there without one.

    Raises:
        PipelineError: ``job.not_found``; ``job.not_cancelable`` for one that has ended otherwise.
    """
    return _wish(stores, job_id, JobCanceled(), (JobState.CANCELED,), "job.not_cancelable", actor)


def retry_job(stores: Stores, job_id: str, *, actor: str = "") -> Job:
    """Try again what failed or was canceled, and what depends on it; what was completed stays.

    Args:
        stores: Where it is.
        job_id: Of the job.
        actor: Who wants it, for the audit log; nothing is noted there without one.

    Raises:
        PipelineError: ``job.not_found``, ``job.not_retryable``.
    """
    return _wish(stores, job_id, JobRetried(), (JobState.RUNNING, JobState.VALIDATING), "job.not_retryable", actor)


def delete_job(stores: Stores, job_id: str, *, actor: str = "") -> None:
    """Have nothing of a job left but a line of the audit log: that it was there, whose, and when.

    Its objects are removed at once, by whoever hears of it, and once more when no URL is good any more by which one
    could have come back.

    Args:
        stores: Where it is.
        job_id: Of the job.
        actor: Who wants it, for the audit log; nothing is noted there without one.

    Raises:
        PipelineError: ``job.not_found``; not for a job that is being deleted already.
    """
    forget(stores, stores.jobs.get(job_id))
    job = _change(stores, job_id, JobDeleted())
    _note(stores, job, JobDeleted(), actor)


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
    forget_url(services, job.job_id)
    forget_callback(services, job.job_id)
    if job.media is not None and is_ours(services, job, job.media.object):  # elsewhere, if it came through the inbox
        services.objects.delete(job.media.object)
    for stage in STAGES.values():
        for product in stage.products:
            services.objects.delete(artifact_ref(services, job, product))
    erase_versions(services, job)
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


def _wish(stores: Stores, job_id: str, fact: Fact, wanted: tuple[JobState, ...], refusal: str, actor: str) -> Job:
    find_job(stores, job_id)
    job = _change(stores, job_id, fact)
    if job.state not in wanted:
        raise PipelineError(refusal, f"The job is {job.state}.", state=job.state)
    _note(stores, job, fact, actor)
    return job


def _note(stores: Stores, job: Job, fact: Fact, actor: str) -> None:
    if actor:
        note(stores, job.tenant_id, actor, fact.type, job.job_id)


def _change(stores: Stores, job_id: str, fact: Fact) -> Job:
    job = stores.jobs.update(job_id, lambda job: advance(job, fact, stores.clock.now())).job
    publish_committed(stores, job_id)
    return job
