"""What an event does to a job: one pure function, in which what no longer applies changes nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Unpack

from shared.claims import claim, due_stages, is_hopeless
from shared.endings import audit_line, calls_under_way, edited, ended, tombstone, tried_again
from shared.errors import ErrorInfo, PipelineError
from shared.events import (
    Event,
    Fact,
    JobCanceled,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobErased,
    JobExpired,
    JobFailed,
    JobOverdue,
    JobRetried,
    MediaReceived,
    MediaRejected,
    MediaValidated,
    SourceFailed,
    SourceOpened,
    StageCompleted,
    StageDeferred,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagesClaimed,
    TranscriptEdited,
    envelope,
)
from shared.jobs import MAX_HISTORY, About, Job, JobState, StageState, StageStatus, StateChange
from shared.media import Media
from shared.options import JobOptions
from shared.sources import named
from shared.stages import STAGES
from shared.transcript import Notice

# Such attempts do not use up those that a stage has for failures of its own; this bounds them all the same.
MAX_LOST_ATTEMPTS = 20
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
# How long a stage waits when no runner could be reached to start it, or no store to run it.
DEFERRAL_S = 5.0
# Attempts that say nothing about the recording, and how long the next one waits after the first of them.
LOSSES = {"stage.lost": 0.0, "service.unavailable": DEFERRAL_S}
# What reports say is anyone's text, and the document must stay far below what a store takes.
MAX_MESSAGE_CHARACTERS = 1000
MAX_NOTICES = 20


@dataclass(frozen=True)
class Step:
    """What an event does: the job after it, and what is to be done because of it.

    Attributes:
        events: To be published, committed in one transaction with the job.
        dispatch: Names of the stages that the caller now holds a lease on and must start.
        cancel: Calls of the runner that are of no use any more.
    """

    job: Job
    events: tuple[Event, ...] = ()
    dispatch: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()


def new_job(
    *,
    job_id: str,
    tenant_id: str,
    options: JobOptions,
    upload_expires_at: datetime,
    now: datetime,
    **about: Unpack[About],
) -> Step:
    """A job that waits for its upload, and the event that says so."""
    job = Job(
        job_id=job_id,
        tenant_id=tenant_id,
        options=options,
        created_at=now,
        updated_at=now,
        upload_expires_at=upload_expires_at,
        history=(StateChange(state=JobState.AWAITING_UPLOAD, revision=1, at=now),),
        stages={
            name: StageState(state=StageStatus.PENDING if stage.applies(options) else StageStatus.SKIPPED)
            for name, stage in STAGES.items()
        },
        **about,
    )
    return Step(job=job, events=_publish(job, (JobCreated(has_source=bool(job.source)),), now))


def advance(job: Job, fact: Fact, now: datetime) -> Step:
    """What ``fact`` does to ``job``.

    A fact that no longer applies (a duplicate, a late one, one of an earlier attempt, any after the end)
    changes nothing: the step holds the very same job. So at-least-once delivery in any order is safe. The most
    it asks for is to cancel a call that a runner accepted after its attempt had ended.

    Raises:
        PipelineError: ``internal`` for a fact that only this function itself makes.
    """
    if job.state.is_terminal and not isinstance(fact, JobRetried | TranscriptEdited | JobDeleted | JobErased):
        return _unchanged(job, fact)
    match fact:
        case SourceOpened():
            opened = named(job, fact.filename)
            change = _Change(opened) if opened else None
        case SourceFailed():
            change = _unfetched(job, fact)
        case MediaReceived():
            change = _received(job, fact, now)
        case MediaValidated():
            change = _validated(job, fact, now)
        case MediaRejected():
            change = _rejected(job, fact, now)
        case StagesClaimed():
            change = _claimed(job, fact, now)
        case StageDispatched():
            change = _dispatched(job, fact)
        case StageDeferred():
            change = _deferred(job, fact, now)
        case StageProgressed():
            change = _progressed(job, fact, now)
        case StageCompleted():
            change = _completed(job, fact, now)
        case StageFailed():
            change = _failed(job, fact, now)
        case JobCanceled():
            change = _Change(ended(job, JobState.CANCELED), (fact,), cancel=calls_under_way(job))
        case JobOverdue():
            change = _overdue(job, now)
        case JobRetried():
            again = tried_again(job, now)
            change = _Change(again, (fact,), cancel=calls_under_way(job)) if again else None
        case TranscriptEdited():
            later = edited(job, fact.version)
            change = _Change(later, (fact,)) if later else None
        case JobDeleted():
            change = None if job.state.is_gone else _Change(tombstone(job), (fact,), cancel=calls_under_way(job))
        case JobErased():
            change = _Change(audit_line(job)) if job.state is JobState.DELETING else None
        case JobExpired():
            if job.state is not JobState.AWAITING_UPLOAD:
                return _unchanged(job, fact)
            error = PipelineError("upload.expired").info
            change = _Change(ended(job, JobState.EXPIRED, error), (fact,))
        case _:
            raise PipelineError("internal", f"{fact.type} does not drive a job")
    if change is None:
        return _unchanged(job, fact)
    after = change.job.model_copy(
        update={
            "revision": job.revision + 1,
            "updated_at": now,
            "progress": max(job.progress, _progress(change.job)),
            "history": _history(job, change.job, now),
        }
    )
    return Step(
        job=after,
        events=_publish(after, change.facts, now),
        dispatch=change.dispatch,
        cancel=change.cancel,
    )


@dataclass(frozen=True)
class _Change:
    job: Job
    facts: tuple[Fact, ...] = ()
    dispatch: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()


def _unfetched(job: Job, fact: SourceFailed) -> _Change | None:
    if job.state is not JobState.AWAITING_UPLOAD:
        return None
    error = _brief(fact.error)
    return _Change(ended(job, JobState.FAILED, error), (JobFailed(error=error),))


def _received(job: Job, fact: MediaReceived, now: datetime) -> _Change | None:
    if job.state is not JobState.AWAITING_UPLOAD:
        return None
    begun = StageState(state=StageStatus.RUNNING, attempt=1, started_at=now)
    media = Media(object=fact.object, filename=job.filename)
    return _Change(_with_stage(job, "validate", begun, state=JobState.VALIDATING, media=media))


def _validated(job: Job, fact: MediaValidated, now: datetime) -> _Change | None:
    if job.state is not JobState.VALIDATING:
        return None
    done = _finished(job.stages["validate"], StageStatus.COMPLETED, now)
    found = {"media": fact.media, "reused_from": fact.reused_from, "notices": fact.notices}
    return _Change(_with_stage(job, "validate", done, state=JobState.RUNNING, **found), (fact,))


def _rejected(job: Job, fact: MediaRejected, now: datetime) -> _Change | None:
    if job.state is not JobState.VALIDATING:
        return None
    failed = _finished(job.stages["validate"], StageStatus.FAILED, now, fact.error)
    return _Change(_with_stage(job, "validate", failed, state=JobState.REJECTED, error=fact.error), (fact,))


def _claimed(job: Job, fact: StagesClaimed, now: datetime) -> _Change | None:
    due = due_stages(job, now)
    if not due:
        return None
    for name in due:
        if is_hopeless(STAGES[name], job.stages[name], now):
            # The other stages are claimed by whoever hears of this failure.
            error = PipelineError("stage.crashed").info
            return _failed(job, StageFailed(stage=name, attempt=job.stages[name].attempt, error=error), now)
    lease_expires_at = now + timedelta(seconds=fact.lease_s)
    claims = {name: claim(job.stages[name], now, lease_expires_at) for name in due}
    # Who cancels a job and tries it again may be faster than who was to stop its calls.
    waiting = (job.stages[name] for name in due if job.stages[name].state is StageStatus.PENDING)
    left_behind = tuple(stage.call_id for stage in waiting if stage.call_id)
    return _Change(job.model_copy(update={"stages": {**job.stages, **claims}}), dispatch=due, cancel=left_behind)


def _dispatched(job: Job, fact: StageDispatched) -> _Change | None:
    stage = _current(job, fact.stage, fact.attempt)
    if stage is None or stage.call_id is not None:
        return None
    # A report may have come before this: then the stage is running already and stays so.
    return _Change(
        _with_stage(job, fact.stage, stage.model_copy(update={"call_id": fact.call_id, "lease_expires_at": None}))
    )


def _deferred(job: Job, fact: StageDeferred, now: datetime) -> _Change | None:
    stage = _current(job, fact.stage, fact.attempt)
    if stage is None or stage.call_id is not None:
        return None
    pending = _waiting(stage, now + timedelta(seconds=DEFERRAL_S), _brief(fact.error))
    return _Change(_with_stage(job, fact.stage, pending))


def _progressed(job: Job, fact: StageProgressed, now: datetime) -> _Change | None:
    stage = _current(job, fact.stage, fact.attempt)
    if stage is None:
        return None
    text = job.partial_text if fact.partial_text is None else fact.partial_text
    # Before its first report an attempt may have waited in a runner's queue: its time counts from here.
    begins = stage.state is StageStatus.DISPATCHED
    update = {
        "state": StageStatus.RUNNING,
        "started_at": now if begins else stage.started_at,
        "progress": max(stage.progress, fact.progress),
    }
    after = _with_stage(job, fact.stage, stage.model_copy(update=update), partial_text=text)
    return None if after == job else _Change(after)


def _completed(job: Job, fact: StageCompleted, now: datetime) -> _Change | None:
    stage = _current(job, fact.stage, fact.attempt)
    if stage is None:
        return None
    done = _finished(stage, StageStatus.COMPLETED, now)
    done = done.model_copy(update={"artifacts": fact.artifacts, "metrics": fact.metrics})
    after = _with_stage(job, fact.stage, done, notices=_notices(job, fact))
    if not all(state.state.is_done for state in after.stages.values()):
        return _Change(after, (fact,))
    over = ended(after, JobState.COMPLETED)
    return _Change(over, (fact, JobCompleted(artifacts=over.artifacts, notices=over.notices)))


def _failed(job: Job, fact: StageFailed, now: datetime) -> _Change | None:
    stage = _current(job, fact.stage, fact.attempt)
    if stage is None:
        return None
    error = _brief(fact.error)
    lost = error.code in LOSSES
    counted = stage.model_copy(update={"losses": stage.losses + 1} if lost else {"failures": stage.failures + 1})
    may_try = counted.losses < MAX_LOST_ATTEMPTS if lost else counted.failures < STAGES[fact.stage].max_attempts
    again = error.retryable and may_try
    # Whether there will be another attempt is decided here, whatever the reporter thought.
    failure = fact.model_copy(update={"error": error, "will_retry": again})
    if again:
        first_s, count = (LOSSES[error.code], counted.losses) if lost else (FIRST_BACKOFF_S, counted.failures)
        wait_s = min(first_s * 2 ** (count - 1), MAX_BACKOFF_S)
        pending = _waiting(counted, now + timedelta(seconds=wait_s), error)
        return _Change(_with_stage(job, fact.stage, pending), (failure,))
    after = _with_stage(job, fact.stage, _finished(counted, StageStatus.FAILED, now, error))
    return _Change(
        ended(after, JobState.FAILED, error), (failure, JobFailed(error=error)), cancel=calls_under_way(after)
    )


def _overdue(job: Job, now: datetime) -> _Change | None:
    if job.deadline_at is None or now < job.deadline_at:
        return None
    error = PipelineError("job.overdue").info
    return _Change(ended(job, JobState.FAILED, error), (JobFailed(error=error),), cancel=calls_under_way(job))


def _unchanged(job: Job, fact: Fact) -> Step:
    """Nothing changes, but a call that was accepted after its attempt had ended must not run on."""
    if not isinstance(fact, StageDispatched):
        return Step(job=job)
    stage = job.stages.get(fact.stage)
    if stage is None or stage.attempt != fact.attempt:
        return Step(job=job, cancel=(fact.call_id,))
    # A call that ended by its own report needs no stopping, and its warm process would be stopped with it. A stage that
    # waits and has no error was begun anew, by a retry that came faster than the word that the call was accepted.
    under_way = stage.state in (StageStatus.DISPATCHED, StageStatus.RUNNING)
    begun_anew = stage.state is StageStatus.PENDING and stage.error is None
    return Step(job=job, cancel=(fact.call_id,) if (under_way or begun_anew) and stage.call_id != fact.call_id else ())


def _brief(error: ErrorInfo) -> ErrorInfo:
    return error.model_copy(update={"message": error.message[:MAX_MESSAGE_CHARACTERS]})


def _waiting(stage: StageState, not_before: datetime, error: ErrorInfo) -> StageState:
    """The stage between two attempts: what it has counted stays, what was of the last attempt goes."""
    return StageState(
        attempt=stage.attempt,
        failures=stage.failures,
        losses=stage.losses,
        progress=stage.progress,
        not_before=not_before,
        error=error,
    )


def _notices(job: Job, fact: StageCompleted) -> tuple[Notice, ...]:
    """The job's notices and the new ones: each once, and no more than a document can hold."""
    new = (notice.model_copy(update={"message": notice.message[:MAX_MESSAGE_CHARACTERS]}) for notice in fact.notices)
    return tuple(dict.fromkeys((*job.notices, *new)))[:MAX_NOTICES]


def _current(job: Job, name: str, attempt: int) -> StageState | None:
    """The stage, if this attempt is its latest and still under way. Validation has facts of its own."""
    stage = job.stages.get(name) if job.state is JobState.RUNNING else None
    under_way = (StageStatus.DISPATCHED, StageStatus.RUNNING)
    return stage if stage and stage.state in under_way and stage.attempt == attempt else None


def _with_stage(job: Job, name: str, stage: StageState, **update: object) -> Job:
    return job.model_copy(update={"stages": {**job.stages, name: stage}, **update})


def _finished(stage: StageState, state: StageStatus, now: datetime, error: ErrorInfo | None = None) -> StageState:
    return stage.model_copy(
        update={
            "state": state,
            "finished_at": now,
            "lease_expires_at": None,
            "progress": 1.0 if state is StageStatus.COMPLETED else stage.progress,
            "error": error,
        }
    )


def _progress(job: Job) -> float:
    if job.state is JobState.COMPLETED:
        return 1.0
    applying = [(STAGES[name].weight, stage) for name, stage in job.stages.items() if stage.state != "skipped"]
    return round(sum(w * stage.progress for w, stage in applying) / sum(w for w, _ in applying), 4)


def _history(job: Job, after: Job, now: datetime) -> tuple[StateChange, ...]:
    if after.state is job.state:
        return after.history
    came = StateChange(state=after.state, revision=job.revision + 1, at=now)
    return (*after.history, came)[-MAX_HISTORY:]


def _publish(job: Job, facts: tuple[Fact, ...], now: datetime) -> tuple[Event, ...]:
    return tuple(
        envelope(
            fact,
            tenant_id=job.tenant_id,
            job_id=job.job_id,
            revision=job.revision,
            now=now,
            traceparent=job.traceparent,
        )
        for fact in facts
        if fact.published
    )
