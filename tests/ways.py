"""The ways a job can go: what people want of it, what happens to it, and what must come of that whatever breaks."""

from dataclasses import dataclass

from shared.jobs import JobState

_BEGUN = ("job.created", "media.validated")
_DONE = (*(f"stage.completed {name}" for name in ("transcribe", "diarize", "attribute", "caption")), "job.completed")


@dataclass(frozen=True)
class Wish:
    """What someone asks for, once the job is in a state; of one that runs, while a worker is at it."""

    verb: str
    at: JobState


@dataclass(frozen=True)
class Way:
    """How a job goes, in all lives of one cloud.

    Attributes:
        resumable: The phone uploads by a resumable session.
        inbox: The recording is put into the inbox, and no job was created for it.
        uploads: Whether the recording ever comes.
        runner_lives_on: Calls go on while the cloud is dead and reach it later, as on Modal; otherwise they die with
            it, as the local runner's do.
        order: Seed of an order of its own, with sweeps in between; otherwise messages go before calls, and sweeps come
            when there is neither.
        wishes: What is asked of the job, one after the other.
        fails: The stage whose worker fails for good until someone asks for a retry.
        hangs: No call ever gets its turn.
        deadline_s: Of the job, from its creation.
        retention_days: After which it is deleted.
        states: Those the job goes through, in order.
        events: Those that are told, each once, but for attempts that fail and are repeated.
        more: Effects that this way has and the first one has not.
        less: Effects that the first one has and this way has not.
    """

    resumable: bool = False
    inbox: bool = False
    uploads: bool = True
    runner_lives_on: bool = False
    order: int | None = None
    wishes: tuple[Wish, ...] = ()
    fails: str = ""
    hangs: bool = False
    deadline_s: float | None = None
    retention_days: int | None = None
    states: str = "awaiting_upload validating running completed"
    events: tuple[str, ...] = (*_BEGUN, *_DONE)
    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()

    @property
    def end(self) -> JobState:
        """Where the job stays."""
        return JobState(self.states.split()[-1])


_WORKING = ("worker.post", "worker.put", "objects.write")
_ERASING = ("cloud.post", "objects.delete", "jobs.erase_history")

FIRST = "put, calls die with the cloud"
WAYS = {
    FIRST: Way(),
    "resumable, calls live on, another order": Way(
        resumable=True, runner_lives_on=True, order=4, more=("objects.open_session", "cloud.post")
    ),
    "canceled while a stage runs, then retried": Way(
        wishes=(Wish("cancel", JobState.RUNNING), Wish("retry", JobState.CANCELED)),
        states="awaiting_upload validating running canceled running completed",
        events=(*_BEGUN, "job.canceled", "job.retried", *_DONE),
        more=("cloud.post", "runner.cancel"),
    ),
    "failed for good, then retried": Way(
        fails="diarize",
        wishes=(Wish("retry", JobState.FAILED),),
        states="awaiting_upload validating running failed running completed",
        events=(*_BEGUN, "stage.failed diarize", "job.failed", "job.retried", *_DONE),
        more=("runner.cancel",),
    ),
    "completed, then deleted": Way(
        wishes=(Wish("delete", JobState.COMPLETED),),
        states="awaiting_upload validating running completed deleting deleted",
        events=(*_BEGUN, *_DONE, "job.deleted"),
        more=("phone.delete", *_ERASING),
    ),
    "deleted while a stage runs": Way(
        runner_lives_on=True,
        wishes=(Wish("delete", JobState.RUNNING),),
        states="awaiting_upload validating running deleting deleted",
        events=(*_BEGUN, "job.deleted"),
        more=("phone.delete", "runner.cancel", *_ERASING),
        less=("objects.write",),
    ),
    "dropped into the inbox": Way(
        inbox=True,
        states="validating running completed",
        less=("phone.post",),
    ),
    "an upload that never comes": Way(
        uploads=False,
        states="awaiting_upload expired",
        events=("job.created", "job.expired"),
        more=("cloud.post",),
        less=(
            "phone.put",
            "objects.commit",
            "delivery.post",
            "queue.lease",
            "queue.acknowledge",
            "runner.start",
            *_WORKING,
        ),
    ),
    "a deadline that passes": Way(
        hangs=True,
        runner_lives_on=True,
        deadline_s=3600.0,
        states="awaiting_upload validating running failed",
        events=(*_BEGUN, "job.failed"),
        more=("cloud.post", "runner.cancel"),
        less=_WORKING,
    ),
    "kept as long as the retention says": Way(
        retention_days=1,
        states="awaiting_upload validating running completed deleting deleted",
        events=(*_BEGUN, *_DONE, "job.deleted"),
        more=_ERASING,
    ),
}
