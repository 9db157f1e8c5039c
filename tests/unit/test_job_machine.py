"""Whatever the world does to jobs, and in whatever order: the laws hold, and every job ends.

``HYPOTHESIS_PROFILE=deep`` tries fifty times as much. ``HYPOTHESIS_PROFILE=hunt`` stops at the first violation and does
not make it smaller. Every profile but ``deep`` tries the same each time.

One file: a state machine is one class of rules and invariants.
"""

import logging
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from infra.gcp.job_store import connect
from infra.pipeline.control import cancel_job, delete_job, retry_job
from infra.pipeline.dispatch import apply_fact, dispatch_due
from infra.pipeline.orchestration import orchestrate_event
from infra.pipeline.outbox import publish_committed
from infra.pipeline.sweep import ACTIVE, sweep
from infra.wiring import Services
from shared.claims import due_stages
from shared.events import JobExpired, JobOverdue
from shared.jobs import Job, JobState
from shared.ports import CallState
from tests.emulators import Emulator
from tests.machine.store import HistoryStore
from tests.machine.world import DAMAGED, LEASE_S, World
from tests.services import told_services

MAX_JOBS = 3
# How many sweeps, half a minute apart, may pass until every job has ended once nothing goes wrong any more.
MAX_SWEEPS = 40
DEEPER = 50
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
UNHURRIED = pytest.mark.timeout(0 if PROFILE == "deep" else 300)

PICKS = st.integers(0, 1_000)
DEADLINES = st.sampled_from([None, None, None, 50.0, 5 * 3600.0])
UPLOADS = [b"RIFF", b"RIFF", b"RIFF", DAMAGED, None]
WORK = st.sampled_from(["does it", "does it", "does it", "does it", "away", "fails", "dies"])
ACTS = st.sampled_from(
    3 * ["completes"]
    + 3 * ["gets on"]
    + ["completes silently", "completes without artifacts", "fails", "refuses", "crashes", "hangs"]
)
# Seconds, to both sides of each limit: a backoff, a lease, a probe, a deferral, an upload, a stage's timeout, a URL.
SPANS = st.sampled_from([0.2, 1.0, 9.0, 16.0, 61.0, 400.0, 4.1 * 3600, 11.8 * 3600, 13 * 3600.0])
ERRORS = st.sampled_from([0.0, 0.0, 0.0, 2.0, -2.0, -20.0])
WISHES: dict[str, Callable[[Services, str], object]] = {
    "job.canceled": cancel_job,
    "job.retried": retry_job,
    "job.deleted": delete_job,
    "job.expired": lambda services, job_id: apply_fact(services, job_id, JobExpired()),
    "job.overdue": lambda services, job_id: apply_fact(services, job_id, JobOverdue()),
}
FAULTS = st.sampled_from(["", "", "", "", "refused", "unanswered", "bus", "runner", "prober"])


class JobMachine(RuleBasedStateMachine):
    """One example is one interleaving; ``tried`` counts them and their steps."""

    tried: ClassVar[Counter[str]]
    connect: ClassVar[Callable[[], HistoryStore] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.exit = ExitStack()
        folder = Path(self.exit.enter_context(tempfile.TemporaryDirectory()))
        store = type(self).connect
        self.world = World(self.exit.enter_context(told_services(folder)), store() if store else None)
        self.looked_at: dict[str, int] = {}
        self.tried["interleavings"] += 1

    def _do(self, what: str, act: Callable[[], object], error_s: float = 0.0, fault: str = "") -> bool:
        """Let something happen, seen by a clock that is wrong by so much, while one service is away."""
        world = self.world
        self.tried[f"step: {what}"] += 1
        world.clock.error = timedelta(seconds=error_s)
        world.bus.down, world.runner.down, world.prober.broken = fault == "bus", fault == "runner", fault == "prober"
        world.store.fault = fault if fault in ("refused", "unanswered") else ""
        try:
            return world.attempt(act)
        finally:
            world.bus.down = world.runner.down = world.prober.broken = False
            world.store.fault = ""
            world.clock.error = timedelta()

    def _due(self) -> list[Job]:
        return [job for job in self.world.jobs if due_stages(job, self.world.clock.time)]

    def _job(self, pick: int) -> Job:
        return self.world.jobs[pick % len(self.world.jobs)]

    @initialize(
        stale=st.booleans(),
        dispatched=st.booleans(),
        jobs=st.lists(st.tuples(st.booleans(), DEADLINES, st.sampled_from(UPLOADS)), min_size=1, max_size=MAX_JOBS),
    )
    def begin(self, stale: bool, dispatched: bool, jobs: list[tuple[bool, float | None, bytes | None]]) -> None:
        """Most recordings are there at once, and half of the worlds begin with workers that are at work."""
        self.world.store.stale = stale
        for diarize, deadline_s, content in jobs:
            self._do("create", lambda d=diarize, s=deadline_s: self.world.create(diarize=d, deadline_s=s))
            if content is not None:
                self.world.upload(self.world.jobs[-1], content)
                self._do("deliver", self.world.network.pop(-2).arrive)
            if dispatched:
                self._do("dispatch", lambda: dispatch_due(self.world.services, self.world.jobs[-1].job_id))

    @precondition(lambda self: any(job.state is JobState.AWAITING_UPLOAD for job in self.world.jobs))
    @rule(pick=PICKS, content=st.sampled_from([b"RIFF"] * 4 + [DAMAGED]), at_once=st.booleans())
    def upload(self, pick: int, content: bytes, at_once: bool) -> None:
        waiting = [job for job in self.world.jobs if job.state is JobState.AWAITING_UPLOAD]
        before = len(self.world.network)
        self._do("upload", lambda: self.world.upload(waiting[pick % len(waiting)], content))
        if at_once and len(self.world.network) > before:
            self._do("deliver", self.world.network.pop(before).arrive)

    @precondition(lambda self: self.world.network)
    @rule(pick=PICKS, twice=st.sampled_from([False, False, True]), error_s=ERRORS, fault=FAULTS)
    def deliver(self, pick: int, twice: bool, error_s: float, fault: str) -> None:
        network = self.world.network
        message = network[pick % len(network)]
        if self._do("deliver", message.arrive, error_s, fault) and not twice:
            network.remove(message)
        elif twice and error_s:
            self._do("deliver", message.arrive)

    @precondition(lambda self: self.world.network or self.world.lost)
    @rule(pick=PICKS)
    def lose_or_find(self, pick: int) -> None:
        """What is on its way is lost; or what was lost is on its way again."""
        self.tried["step: lose or find"] += 1
        network, lost = self.world.network, self.world.lost
        if network and (pick % 2 or not lost):
            lost.append(network.pop(pick % len(network)))
        else:
            network.append(lost.pop(pick % len(lost)))

    @precondition(lambda self: self._due())
    @rule(pick=PICKS, hows=st.tuples(WORK, WORK), turned=st.booleans())
    def two_dispatchers(self, pick: int, hows: tuple[str, str], turned: bool) -> None:
        """A claim expires while its dispatcher is still at work; another takes it over; both come to an end."""
        due = self._due()
        job_id = due[pick % len(due)].job_id
        self.tried["step: two dispatchers"] += 1
        claims, before = self.world.claims, len(self.world.claims)
        for _ in hows:
            self._do("claim", lambda: self.world.claim(self.world.store.versions[job_id][-1]))
            self.world.clock.time += timedelta(seconds=LEASE_S + 1)
        ends = claims[before :: max(len(claims) - before - 1, 1)]
        for claim, how in zip(ends[::-1] if turned else ends, hows, strict=False):
            arrived = len(self.world.network)
            self._do("work off", lambda claim=claim, how=how: self.world.work_off(claim, how))
            for message in self.world.network[arrived:]:
                self._do("deliver", message.arrive)

    @precondition(lambda self: self._due())
    @rule(pick=PICKS, error_s=ERRORS, fault=FAULTS)
    def claim(self, pick: int, error_s: float, fault: str) -> None:
        due = self._due()
        self._do("claim", lambda: self.world.claim(due[pick % len(due)]), error_s, fault)

    @precondition(lambda self: self.world.claims)
    @rule(pick=PICKS, how=WORK, arrivals=st.integers(0, 2))
    def work_off(self, pick: int, how: str, arrivals: int) -> None:
        claims = self.world.claims
        before = len(self.world.network)
        self._do("work off", lambda: self.world.work_off(claims[pick % len(claims)], how))
        for message in self.world.network[before:] * arrivals:
            self._do("deliver", message.arrive)

    @precondition(lambda self: self.world.runner.able())
    @rule(acts=st.lists(st.tuples(PICKS, ACTS, st.booleans()), min_size=1, max_size=3), fault=FAULTS)
    def act(self, acts: list[tuple[int, str, bool]], fault: str) -> None:
        """Workers do something, and the news of it arrives at once or is on its way."""
        for pick, how, at_once in acts:
            able, before = self.world.runner.able(), len(self.world.network)
            if able:
                worker = able[pick % len(able)]
                self._do(f"worker {how}", lambda worker=worker, how=how: self.world.act(worker, how))
            if at_once and len(self.world.network) > before:
                arrived = self._do("deliver", self.world.network[-1].arrive, fault=fault)
                del self.world.network[len(self.world.network) - arrived :]

    @precondition(lambda self: any(job.state is JobState.RUNNING for job in self.world.jobs))
    @rule(pick=PICKS, times=st.sampled_from([2, 3, 5, 22]), how=st.sampled_from(["fails", "is lost", "is claimed"]))
    def again_and_again(self, pick: int, times: int, how: str) -> None:
        """The same mishap, so often that someone must give up."""
        running = [job for job in self.world.jobs if job.state is JobState.RUNNING]
        job_id = running[pick % len(running)].job_id
        for _ in range(times):
            self.world.clock.time += timedelta(seconds=61)
            if how == "is claimed":
                self._do("claim", lambda: self.world.claim(self.world.store.versions[job_id][-1]))
                continue
            self._do("dispatch", lambda: dispatch_due(self.world.services, job_id))
            if how == "is lost":
                self._do("runner restarts", self.world.restart_runner)
                self._do("sweep", self._sweep)
            for worker in self.world.runner.able():
                if worker.job_id == job_id and worker.stage == "transcribe":
                    self._do("worker fails", lambda worker=worker: self.world.act(worker, "fails"))
                    self._do("deliver", self.world.network.pop().arrive)

    @rule(pick=PICKS, who=st.sampled_from(["sweep", "dispatch", "hear"]), error_s=ERRORS, fault=FAULTS)
    def look(self, pick: int, who: str, error_s: float, fault: str) -> None:
        """Someone looks at the state of things, for a reason or for none; an event may be heard of again and again."""
        services, published = self.world.services, self.world.bus.published
        if who == "sweep":
            self._do("sweep", self._sweep, error_s, fault)
        elif who == "dispatch" or not published:
            self._do("dispatch", lambda: dispatch_due(services, self._job(pick).job_id), error_s, fault)
        else:
            event = published[pick % len(published)]
            self._do("hear", lambda: orchestrate_event(services, event), error_s, fault)

    def _sweep(self) -> None:
        self.world.store.wishes = frozenset({"job.erased"})
        sweep(self.world.services)
        self.world.store.wishes = frozenset()

    @rule(span_s=SPANS, sure=st.booleans())
    def pass_time(self, span_s: float, sure: bool) -> None:
        # Long spans end most of what is under way, so they come less often.
        if span_s < 100 or sure:
            self.tried["step: time"] += 1
            self.world.clock.time += timedelta(seconds=span_s)

    @precondition(lambda self: self.world.runner.able())
    @rule(sure=st.integers(0, 3))
    def restart_runner(self, sure: int) -> None:
        if sure == 3:
            self._do("runner restarts", self.world.restart_runner)

    @precondition(lambda self: any(not job.state.is_gone for job in self.world.jobs))
    @rule(pick=PICKS, wish=st.sampled_from(sorted(WISHES)), sure=st.integers(0, 3), fault=FAULTS)
    def wish(self, pick: int, wish: str, sure: int, fault: str) -> None:
        # Seldom, so that most jobs come far enough for the other rules; trying again is for those that have ended.
        ended = [job for job in self.world.jobs if job.state in (JobState.FAILED, JobState.CANCELED)]
        jobs = ended if wish == "job.retried" else self.world.jobs
        if jobs and (sure == 3 or wish == "job.retried"):
            job_id = jobs[pick % len(jobs)].job_id
            self.world.store.wishes = frozenset({wish})
            self._do(wish, lambda: WISHES[wish](self.world.services, job_id), 0.0, fault)
            self.world.store.wishes = frozenset()

    @precondition(lambda self: self.world.store.unpublished(limit=1))
    @rule(limit=st.sampled_from([1, 2, 100]), dies=st.booleans())
    def publish(self, limit: int, dies: bool) -> None:
        """Publish what waits; who dies in the middle never says so."""
        world = self.world
        if dies:
            waiting = world.services.jobs.unpublished(limit=limit)
            self._do("publish and die", lambda: world.bus.publish(waiting))
        else:
            self._do("publish", lambda: publish_committed(world.services, limit=limit))

    @invariant()
    def what_is_stored_is_what_was_committed(self) -> None:
        store = self.world.store
        for job_id, versions in store.versions.items():
            if self.looked_at.get(job_id) == versions[-1].revision:
                continue
            self.looked_at[job_id] = versions[-1].revision
            assert store.get(job_id) == versions[-1]
            history = list(store.history(job_id))
            committed = [event for event in store.events[job_id] if event in history or not versions[-1].state.is_gone]
            assert history == committed, "the outbox holds each event of each commit, until it is erased"

    @invariant()
    def events_are_published_once_by_id_and_only_if_committed(self) -> None:
        committed = {event.id: event for events in self.world.store.events.values() for event in events}
        assert len(committed) == sum(map(len, self.world.store.events.values())), "two events have one id"
        for event in self.world.bus.published:
            assert committed.get(event.id) == event, f"{event.id} was published and not committed"

    @invariant()
    def no_object_is_replaced(self) -> None:
        world = self.world
        for job in world.jobs:
            for artifact in job.artifacts if not job.state.is_gone else ():
                assert world.services.objects.stat(artifact.object) == artifact.object
                assert world.generations.setdefault(artifact.object.uri, artifact.object.generation or 0) == (
                    artifact.object.generation
                )

    def teardown(self) -> None:
        try:
            if self.world.jobs:
                self._settle()
                self._tell_everything_again()
        finally:
            self.exit.close()

    def _settle(self) -> None:
        """Nothing goes wrong any more, but what is on its way is lost: sweeps and workers end every job."""
        world = self.world
        for sweeps in range(MAX_SWEEPS):
            waiting = world.services.jobs.unpublished(limit=1)
            active = [job for job in world.jobs if job.state in ACTIVE]
            if not active and not waiting:
                break
            # Now and then a day passes, for workers that hang.
            world.clock.time += timedelta(hours=13) if sweeps % 8 == 7 else timedelta(seconds=30)
            self._sweep()
            for worker in world.runner.able():
                if worker.call.state is CallState.RUNNING:
                    world.act(worker, "completes")
                    self._do("settle", world.sent[-1].arrive)
        else:
            raise AssertionError(f"these jobs do not end: {[job.to_json() for job in active]}")
        self.tried["longest: sweeps"] = max(self.tried["longest: sweeps"], sweeps)
        for job in world.jobs:
            self.tried[f"ended: {job.state}"] += 1
            if job.state is JobState.COMPLETED:
                names = self._objects("earwitness-results", job)
                assert sorted(artifact.object.name for artifact in job.artifacts) == names, "an object of nobody"
            if job.state is JobState.DELETED:
                names = self._objects("earwitness-results", job) + self._objects("earwitness-uploads", job)
                assert not names, "of a deleted job nothing is left"
        committed = sorted(event.id for events in world.store.events.values() for event in events)
        assert sorted({event.id for event in world.bus.published}) == committed, "an event was never published"

    def _objects(self, bucket: str, job: Job) -> list[str]:
        return [n for n in self.world.services.objects.names(bucket) if n.startswith(f"t/{job.job_id}/")]

    def _tell_everything_again(self) -> None:
        """Everything that was ever sent arrives once more, the last first: nothing changes."""
        world = self.world
        before = [job.to_json() for job in world.jobs]
        for message in reversed(world.sent):
            self._do("tell again", message.arrive)
        for claim in tuple(world.claims):
            self._do("work off at last", lambda claim=claim: world.work_off(claim, "does it"))
            self._do("tell again", world.sent[-1].arrive)
        assert [job.to_json() for job in world.jobs] == before
        self.what_is_stored_is_what_was_committed()


def explore(examples: int, connect: Callable[[], HistoryStore] | None = None) -> Counter[str]:
    """Try so many interleavings; return what was tried."""

    class Machine(JobMachine):
        tried: ClassVar[Counter[str]] = Counter()

    Machine.connect = staticmethod(connect) if connect else None  # type: ignore[assignment]
    deep = PROFILE == "deep"
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples * (DEEPER if deep else 1),
            stateful_step_count=60,
            derandomize=not deep,
            database=None,
            deadline=None,
            phases=[Phase.generate] if PROFILE == "hunt" else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Machine.tried


def told(store: str, tried: Counter[str]) -> str:
    """What was tried, in words."""
    steps = sum(count for what, count in tried.items() if what.startswith(("step", "worker", "job")))
    rows = [f"{what}: {count}" for what, count in sorted(tried.items())]
    return f"{store}: {tried['interleavings']} interleavings, {steps} steps; " + ", ".join(rows)


@pytest.mark.slow
@UNHURRIED
def test_the_laws_hold_on_the_local_store(caplog: pytest.LogCaptureFixture, tell: Callable[[str], None]) -> None:
    caplog.set_level(logging.ERROR)
    tried = explore(150)
    tell(told("SQLite", tried))
    # Jobs that are canceled are often tried again or deleted after that: few end so.
    assert {
        "ended: completed",
        "ended: failed",
        "step: job.canceled",
        "ended: rejected",
        "ended: expired",
    } <= tried.keys()


@pytest.mark.slow
@UNHURRIED
def test_the_laws_hold_on_firestore(
    firestore: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tell: Callable[[str], None],
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    tried = explore(4, lambda: connect(f"test-{uuid.uuid4().hex[:12]}"))
    tell(told("Firestore", tried))
    assert tried["interleavings"] >= 4
