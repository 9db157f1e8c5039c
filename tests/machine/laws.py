"""What must be true of every committed change, whoever caused it and in whatever order."""

from shared.advance import MAX_LOST_ATTEMPTS, Step
from shared.claims import MAX_TAKEOVERS
from shared.jobs import Job, JobState, StageState, StageStatus
from shared.stages import STAGES, upstream

UNDER_WAY = (StageStatus.DISPATCHED, StageStatus.RUNNING)
ENDINGS = {
    JobState.COMPLETED: "job.completed",
    JobState.REJECTED: "media.rejected",
    JobState.FAILED: "job.failed",
    JobState.CANCELED: "job.canceled",
    JobState.EXPIRED: "job.expired",
    JobState.DELETING: "job.deleted",
}
JOB_MOVES = {
    JobState.AWAITING_UPLOAD: {JobState.VALIDATING, JobState.EXPIRED},
    JobState.VALIDATING: {JobState.RUNNING, JobState.REJECTED},
    JobState.RUNNING: {JobState.COMPLETED},
}
# What may happen to any job that has not ended: it is canceled, it is overdue or a stage fails, it is deleted.
ANY_TIME = {JobState.CANCELED, JobState.FAILED, JobState.DELETING}
# What may follow the end of a job, and the fact that someone must have asked for.
AFTER_THE_END = {
    "job.retried": ({JobState.FAILED, JobState.CANCELED}, {JobState.VALIDATING, JobState.RUNNING}),
    "job.deleted": (set(JobState) - {JobState.DELETING, JobState.DELETED}, {JobState.DELETING}),
    "job.erased": ({JobState.DELETING}, {JobState.DELETED}),
}
STAGE_MOVES = {
    StageStatus.PENDING: {StageStatus.DISPATCHED, StageStatus.RUNNING},
    StageStatus.DISPATCHED: {StageStatus.RUNNING, StageStatus.PENDING, StageStatus.COMPLETED, StageStatus.FAILED},
    StageStatus.RUNNING: {StageStatus.PENDING, StageStatus.COMPLETED, StageStatus.FAILED},
}


def check_creation(step: Step) -> None:
    """The laws of a new job."""
    assert step.job.revision == 1
    assert [event.type for event in step.events] == ["job.created"]
    _check_envelopes(step)


def check_commit(before: Job, step: Step, wishes: frozenset[str] = frozenset()) -> None:
    """The laws of one change.

    Args:
        before: The document that it was made from.
        step: What was committed.
        wishes: Facts that someone asked for and that may follow the end of a job.
    """
    after = step.job
    assert after.revision == before.revision + 1, "revisions grow by one with each change"
    unnoticed = {"revision": after.revision, "updated_at": after.updated_at}
    assert after != before.model_copy(update=unnoticed), "what changes nothing is not committed"
    assert (after.job_id, after.tenant_id, after.created_at) == (before.job_id, before.tenant_id, before.created_at)
    assert after.progress >= before.progress, "progress never falls"
    assert before.state is not JobState.DELETED, "a job that is erased never changes"
    if before.state.is_terminal:
        allowed = [AFTER_THE_END[wish] for wish in wishes if wish in AFTER_THE_END]
        assert any(before.state in befores and after.state in afters for befores, afters in allowed), (
            f"a terminal state never changes: {before.state} to {after.state}"
        )
    elif after.state is not before.state:
        assert after.state in JOB_MOVES[before.state] | ANY_TIME, f"a job goes from {before.state} to {after.state}"
    _check_envelopes(step)
    told = [(event.type, event.data.get("stage"), event.data.get("attempt")) for event in step.events]
    assert told == _told(before, after), "each change causes its events, and no event comes of another attempt"
    if not after.state.is_gone:
        anew = before.state.is_terminal
        for name, stage in after.stages.items():
            _check_stage(before, after, name, before.stages[name], stage, anew=anew)
        filenames = [artifact.filename for artifact in after.artifacts]
        assert len(filenames) == len(set(filenames)), "no artifact is recorded twice"
    _check_claims(before, step)
    if after.state.is_terminal and not before.state.is_terminal:
        _check_calls_end(before, step)
    if after.state is JobState.COMPLETED:
        assert all(stage.state.is_done for stage in after.stages.values()), "completed is all stages done"
        assert after.progress == 1.0


def _check_envelopes(step: Step) -> None:
    """An event says which commit caused it."""
    job = step.job
    for event in step.events:
        assert event.id == f"{job.job_id}/{job.revision}/{event.type}", "the id names the revision that caused it"
        assert (event.jobid, event.tenantid, event.time) == (job.job_id, job.tenant_id, job.updated_at)


def _told(before: Job, after: Job) -> list[tuple[str, str | None, int | None]]:
    """The events that a change must have caused, from the two documents alone."""
    told: list[tuple[str, str | None, int | None]] = []
    if before.state is JobState.VALIDATING and after.state is JobState.RUNNING:
        told.append(("media.validated", None, None))
    if before.state.is_terminal and not after.state.is_terminal:
        return [("job.retried", None, None)]
    if not after.state.is_gone:
        for name, stage in after.stages.items():
            was = before.stages[name]
            if stage.failures + stage.losses > was.failures + was.losses:
                told.append(("stage.failed", name, was.attempt))
            elif stage.state is StageStatus.COMPLETED and was.state is not StageStatus.COMPLETED and name != "validate":
                told.append(("stage.completed", name, was.attempt))
    if after.state is not before.state and after.state in ENDINGS:
        told.append((ENDINGS[after.state], None, None))
    return told


def _check_stage(before: Job, after: Job, name: str, was: StageState, is_: StageState, *, anew: bool) -> None:
    assert is_.progress >= was.progress, f"the progress of {name} never falls"
    if was.state.is_done:
        assert is_ == was, f"{name} is done once, and its artifacts are never replaced"
        return
    if anew:
        assert is_.attempt >= was.attempt, "attempts are numbered on"
        return
    if is_.state is not was.state:
        assert is_.state in STAGE_MOVES.get(was.state, ()), f"{name} goes from {was.state} to {is_.state}"
    begins = was.state is StageStatus.PENDING and is_.state is not StageStatus.PENDING
    assert is_.attempt == was.attempt + begins, "only a new attempt is numbered on"
    if begins and name != "validate":
        waits_for = [row.name for row in upstream(STAGES[name], STAGES) if not before.stages[row.name].state.is_done]
        assert not waits_for, f"{name} began before {waits_for}"
    if is_.call_id is not None:
        assert is_.call_id.endswith(f"/{name}/{is_.attempt}"), f"{name} has the call of another attempt"
        assert was.call_id in (None, is_.call_id), f"{name} has a second call"
    if was.call_id is not None and is_.state is StageStatus.PENDING:
        assert is_.failures + is_.losses > was.failures + was.losses, f"{name} waits though a runner has it"
    if is_.state is StageStatus.FAILED:
        assert after.state in (JobState.FAILED, JobState.REJECTED), "a stage that failed for good ends its job"
        given_up = (
            name == "validate"
            or is_.error is None
            or not is_.error.retryable
            or is_.failures >= STAGES[name].max_attempts
            or is_.losses >= MAX_LOST_ATTEMPTS
            or is_.takeovers >= MAX_TAKEOVERS
        )
        assert given_up, f"{name} was given up too early: {is_}"
    assert is_.failures <= STAGES[name].max_attempts
    assert is_.losses <= MAX_LOST_ATTEMPTS


def _check_claims(before: Job, step: Step) -> None:
    """One live claim of an attempt: a stage is handed out when it waits, or when the claim on it is over."""
    now = step.job.updated_at
    for name in step.dispatch:
        was, is_ = before.stages[name], step.job.stages[name]
        assert before.state is JobState.RUNNING
        assert is_.lease_expires_at is not None
        assert is_.lease_expires_at > now
        if was.state is StageStatus.PENDING:
            assert was.not_before is None or was.not_before <= now, f"{name} was tried again too early"
        else:
            assert was.state in UNDER_WAY
            assert was.call_id is None, f"{name} was claimed though a runner has it"
            assert was.lease_expires_at is not None
            assert was.lease_expires_at <= now, f"two live claims of {name}"
    handed_out = {
        name
        for name, stage in step.job.stages.items()
        if stage.lease_expires_at is not None and stage.lease_expires_at != before.stages[name].lease_expires_at
    }
    assert handed_out == set(step.dispatch), "who is told to start a stage holds the claim on it, and no one else"


def _check_calls_end(before: Job, step: Step) -> None:
    """Whoever ends a job is told to stop all that runs for it, but for a call that ended by its own report."""
    for name, stage in before.stages.items():
        if stage.state in UNDER_WAY and stage.call_id is not None and step.job.state is not JobState.COMPLETED:
            ended_itself = step.job.stages[name].state is StageStatus.FAILED
            assert ended_itself or stage.call_id in step.cancel, f"the call of {name} runs on"
