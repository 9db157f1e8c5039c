"""Finding what got stuck: the safety net under every event that may be lost."""

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from infra.observability.counted import tell
from infra.pipeline.control import delete_job, find_job, finish_erasure
from infra.pipeline.dispatch import ATTEMPT_LIFE_S, apply_fact, dispatch_due
from infra.pipeline.intake import first_id_at, receive_upload, upload_ref, validate_received
from infra.pipeline.outbox import publish_committed
from infra.pipeline.reports import with_stored_artifacts
from infra.pipeline.webhooks import put_due
from infra.wiring import Services
from shared.claims import due_stages
from shared.errors import PipelineError
from shared.events import Fact, JobExpired, JobOverdue, StageCompleted, StageFailed
from shared.jobs import Job, JobState, StageState, StageStatus
from shared.ports import CallState
from shared.retention import Retention
from shared.stages import STAGES

log = logging.getLogger(__name__)

ACTIVE = (JobState.AWAITING_UPLOAD, JobState.VALIDATING, JobState.RUNNING, JobState.DELETING)
ENDED = tuple(state for state in JobState if state.is_terminal and not state.is_gone)
_TIMEOUT_GRACE_S = 60.0
# What share of a sweep's budget goes to what; what one leaves over is the next one's, and the last is retention.
_PUBLISHING, _NOTIFYING, _MENDING = 0.2, 0.1, 0.5
# How often a job of its own retention is looked at that has not ended though that is over.
_UNFINISHED_LOOK = timedelta(hours=1)
# A probe is tried twice, and storing its verdict takes a moment.
_PROBES = 3


@dataclass
class Swept:
    """What one sweep did; ``unserved`` are the jobs that it could do nothing for now."""

    published: int = 0
    expired: int = 0
    revalidated: int = 0
    ended_attempts: int = 0
    dispatched: int = 0
    overdue: int = 0
    retired: int = 0
    erased: int = 0
    notified: int = 0
    unserved: int = 0
    runner_is_away: bool = False


def sweep(services: Services, *, page_size: int = 100) -> Swept:
    """Publish what a crash left in the outbox, mend every active job, and retire what ended long ago.

    Safe to repeat and to overlap. It takes little longer than its budget; what it did not come to, the next sweep
    begins with. None of its four works can take the whole budget, so that none keeps the others waiting for ever; nor
    does one job that cannot be mended, nor a service that is away.
    """
    swept = Swept()
    started, budget_s = time.monotonic(), services.settings.sweep_budget_s
    _publish(services, swept, page_size, until=started + _PUBLISHING * budget_s)
    _notify(services, swept, until=started + (_PUBLISHING + _NOTIFYING) * budget_s)
    mended = started + (_PUBLISHING + _NOTIFYING + _MENDING) * budget_s
    for job in _walk(services, "sweep", ACTIVE, None, page_size, until=mended):
        with _logged(job, "mended", swept):
            _mend(services, job, swept)
    _retire_early(services, swept, page_size, until=started + budget_s)
    if services.settings.retention_days is not None:
        _retire(services, swept, services.settings.retention_days, page_size, until=started + budget_s)
    services.documents.purge(services.clock.now())
    tell("sweep.completed", **asdict(swept))
    return swept


def _walk(
    services: Services, name: str, states: Sequence[JobState], begin: str | None, page_size: int, *, until: float
) -> Iterator[Job]:
    """Jobs, newest first, until the time is over; but one at least, so that any number of sweeps comes to an end.

    A walk that was not broken off begins behind the id ``begin``. A bookmark of the walk's name says where the next
    sweep goes on.
    """
    bookmark = services.jobs.bookmark(name)
    after, is_first = bookmark or begin, True
    while page := services.jobs.list(states=states, limit=page_size, after=after):
        for job in page:
            if time.monotonic() >= until and not is_first:
                services.jobs.set_bookmark(name, after)
                return
            yield job
            after, is_first = job.job_id, False
    if bookmark is not None:
        services.jobs.set_bookmark(name, None)


@contextmanager
def _logged(job: Job, done: str, swept: Swept) -> Iterator[None]:
    """One job that cannot be served now keeps the others not waiting."""
    try:
        yield
    except PipelineError as error:
        log.warning("%s could not be %s now: %s", job.job_id, done, error)
        swept.unserved += 1
        _tell_of_stuck(job, "unserved", error.code)


def _tell_of_stuck(job: Job, why: str, code: str = "") -> None:
    """Of a job that would not have gone on by itself."""
    tell("job.stuck", why=why, code=code, job_id=job.job_id, tenant_id=job.tenant_id)


def _retire(services: Services, swept: Swept, days: float, page_size: int, *, until: float) -> None:
    """Delete jobs that ended so long ago that the retention is over."""
    cutoff = services.clock.now() - timedelta(days=days)
    for job in _walk(services, "retention", ENDED, first_id_at(cutoff), page_size, until=until):
        if job.ended_at and job.ended_at <= cutoff:
            with _logged(job, "deleted", swept):
                delete_job(services, job.job_id)
                swept.retired += 1


def _retire_early(services: Services, swept: Swept, page_size: int, *, until: float) -> None:
    """Delete jobs whose own retention is over."""
    for due in services.documents.due(Retention, services.clock.now(), limit=page_size):
        if time.monotonic() >= until:
            return
        try:
            job = find_job(services, due.document_id)
        except PipelineError as error:
            if error.code != "job.not_found":
                raise
            services.documents.delete(Retention, due.document_id)
            continue
        now, kept = services.clock.now(), timedelta(days=due.days)
        if job.ended_at and job.ended_at + kept <= now:
            with _logged(job, "deleted", swept):
                delete_job(services, job.job_id)
                services.documents.delete(Retention, due.document_id)
                swept.retired += 1
            continue
        again_at = job.ended_at + kept if job.ended_at else now + min(kept, _UNFINISHED_LOOK)
        services.documents.update(Retention, due.document_id, functools.partial(_postponed, to=again_at))


def _postponed(due: Retention, *, to: datetime) -> Retention:
    return due.model_copy(update={"due_at": to})


def _publish(services: Services, swept: Swept, page_size: int, *, until: float) -> None:
    """Empty the outbox, as far as the topic takes events now and the time suffices."""
    try:
        while count := publish_committed(services, limit=page_size):
            swept.published += count
            if count < page_size or time.monotonic() >= until:
                break
    except PipelineError as error:
        log.warning("events wait in the outbox: %s", error)


def _notify(services: Services, swept: Swept, *, until: float) -> None:
    """Have webhooks delivered whose next attempt is due."""
    try:
        swept.notified += put_due(services, until=until)
    except PipelineError as error:
        log.warning("webhook deliveries wait: %s", error)


def _mend(services: Services, job: Job, swept: Swept) -> None:
    now = services.clock.now()
    if job.deadline_at is not None and job.deadline_at <= now:
        apply_fact(services, job.job_id, JobOverdue())
        swept.overdue += 1
        _tell_of_stuck(job, "overdue")
        return
    if job.state is JobState.DELETING:
        swept.erased += finish_erasure(services, job)
        return
    if job.state is JobState.AWAITING_UPLOAD and (job.upload_expires_at <= now or _is_late(services, job, now)):
        _look_for_upload(services, job, now, swept)
    validation_limit = timedelta(seconds=_PROBES * services.settings.probe_timeout_s)
    if job.state is JobState.VALIDATING and job.media and job.updated_at + validation_limit <= now:
        # Its finalize event is gone, or will be late: look at the upload from here.
        validate_received(services, job)
        swept.revalidated += 1
        _tell_of_stuck(job, "upload_unnoticed")
    if job.state is not JobState.RUNNING:
        return
    for name, stage in job.stages.items():
        if (fact := _verdict(services, job, name, stage, now, swept)) is not None:
            job = apply_fact(services, job.job_id, fact).job
            swept.ended_attempts += 1
            _tell_of_stuck(job, "attempt_silent", fact.error.code if isinstance(fact, StageFailed) else "")
    due = due_stages(job, now)
    if due and not (swept.runner_is_away and any(STAGES[name].placement == "gpu" for name in due)):
        swept.runner_is_away |= not dispatch_due(services, job.job_id)
        swept.dispatched += len(due)


def _is_late(services: Services, job: Job, now: datetime) -> bool:
    """Whether to look for an upload whose finalize event did not come: ever less often, the longer none is there.

    That is in the second, third, fifth, ninth … minute of a job, so that a job whose upload never comes costs eleven
    looks a day and not a thousand.
    """
    age = int((now - job.created_at) / timedelta(seconds=services.settings.upload_late_s))
    return age.bit_count() == 1


def _look_for_upload(services: Services, job: Job, now: datetime, swept: Swept) -> None:
    """Take up an upload whose finalize event is late or lost; without one, give the job up once its time is over.

    An upload that began while its URL was good may still be under way, hence the grace.
    """
    try:
        uploaded = services.objects.stat(upload_ref(services, job.tenant_id, job.job_id))
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        if job.upload_expires_at + timedelta(seconds=services.settings.upload_grace_s) <= now:
            apply_fact(services, job.job_id, JobExpired())
            swept.expired += 1
    else:
        receive_upload(services, uploaded)
        swept.revalidated += 1
        _tell_of_stuck(job, "upload_unnoticed")


def _verdict(services: Services, job: Job, name: str, stage: StageState, now: datetime, swept: Swept) -> Fact | None:
    """What to record of an attempt that will report nothing any more: its result, where the runner has kept it."""
    under_way = stage.state in (StageStatus.DISPATCHED, StageStatus.RUNNING)
    # A runner that does not answer costs the time of one request, and not of one a job.
    if not under_way or stage.call_id is None or swept.runner_is_away:
        return None
    try:
        if _is_over(stage, name, now):
            services.runner.cancel(stage.call_id)
            return StageFailed(stage=name, attempt=stage.attempt, error=PipelineError("stage.timeout").info)
        call = services.runner.poll(stage.call_id)
    except PipelineError as error:
        if error.code != "service.unavailable":
            raise
        log.warning("calls are not looked at now: %s", error)
        swept.runner_is_away = True
        return None
    match call.state:
        case CallState.RUNNING:
            return None
        case CallState.FAILED:
            return StageFailed(stage=name, attempt=stage.attempt, error=call.error or PipelineError("internal").info)
        case CallState.SUCCEEDED if isinstance(call.report, StageCompleted) and _is_of(call.report, name, stage):
            return with_stored_artifacts(services, job, call.report)
        case _:
            return StageFailed(stage=name, attempt=stage.attempt, error=PipelineError("stage.lost").info)


def _is_over(stage: StageState, name: str, now: datetime) -> bool:
    """Whether an attempt has had its time.

    One that waits for its turn in a runner's queue is dispatched, not running, and takes no time yet; but once its
    URLs have ended it could come to nothing any more.
    """
    limit_s = STAGES[name].timeout_s if stage.state is StageStatus.RUNNING else ATTEMPT_LIFE_S
    return stage.started_at is not None and stage.started_at + timedelta(seconds=limit_s + _TIMEOUT_GRACE_S) < now


def _is_of(report: StageCompleted, name: str, stage: StageState) -> bool:
    """Whether a report that a runner kept is this attempt's."""
    return (report.stage, report.attempt) == (name, stage.attempt)
