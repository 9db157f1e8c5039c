"""Which stages may start, and who starts them: claims that end by themselves."""

from datetime import datetime, timedelta

from shared.jobs import Job, JobState, StageState, StageStatus
from shared.stages import STAGES, Stage, upstream

# A claim that expires so often is not bad luck: its stage kills whoever claims it.
MAX_TAKEOVERS = 5


def due_stages(job: Job, now: datetime) -> tuple[str, ...]:
    """Stages that may start now: inputs there, no retry pending, and no one's live claim on them."""
    if job.state is not JobState.RUNNING:
        return ()
    return tuple(name for name, stage in STAGES.items() if _is_due(job, stage, now))


def claim(stage: StageState, now: datetime, lease_expires_at: datetime) -> StageState:
    """The stage, claimed until the lease expires."""
    if stage.state is not StageStatus.PENDING:
        # An expired claim is taken over as the same attempt: its runner may never have heard of it, and if
        # it did, both write the same artifact, which exists once.
        return stage.model_copy(update={"takeovers": stage.takeovers + 1, "lease_expires_at": lease_expires_at})
    return stage.model_copy(
        update={
            "state": StageStatus.DISPATCHED,
            "attempt": stage.attempt + 1,
            "call_id": None,
            "started_at": now,
            "not_before": None,
            "lease_expires_at": lease_expires_at,
        }
    )


def is_hopeless(stage: Stage, state: StageState, now: datetime) -> bool:
    """Whether an attempt is given up because every process that claims it dies.

    A claim of a GPU stage only spans the handing over to a runner. One of a function stage spans its whole run, so
    there an expired claim may just be a slow run, which has its full time.
    """
    if state.takeovers < MAX_TAKEOVERS:
        return False
    limit = timedelta(seconds=stage.timeout_s)
    return stage.placement == "gpu" or state.started_at is None or state.started_at + limit <= now


def _is_due(job: Job, stage: Stage, now: datetime) -> bool:
    state = job.stages[stage.name]
    if not all(job.stages[before.name].state.is_done for before in upstream(stage, STAGES)):
        return False
    if state.state is StageStatus.PENDING:
        return state.not_before is None or state.not_before <= now
    # Running without a call id: the attempt reported before its dispatcher could note the call, and died.
    under_way = state.state in (StageStatus.DISPATCHED, StageStatus.RUNNING)
    claim_expired = state.lease_expires_at is not None and state.lease_expires_at <= now
    return under_way and state.call_id is None and claim_expired
