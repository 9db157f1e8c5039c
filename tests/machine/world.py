"""The world around jobs: an unreliable network, dispatchers and workers that die or are late, clocks that disagree."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from infra.pipeline.dispatch import apply_fact, artifact_ref
from infra.pipeline.function_stages import FUNCTION_STAGES
from infra.pipeline.intake import receive_upload, upload_ref
from infra.pipeline.reports import receive_report
from infra.wiring import GivenServices, Services
from shared.advance import advance, new_job
from shared.errors import PipelineError
from shared.events import (
    Artifact,
    Event,
    Fact,
    MediaRejected,
    MediaValidated,
    StageCompleted,
    StageDeferred,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagesClaimed,
)
from shared.jobs import Job
from shared.media import Media, ObjectInfo, ObjectRef, Probe
from shared.options import JobOptions
from shared.ports import Call, CallState
from shared.requests import StageRequest
from shared.stages import STAGES, upstream
from tests.machine.store import HistoryStore, WatchedStore

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 15.0
# How long the URLs of an attempt are good: whoever is later than that can write nothing.
URL_LIFE = timedelta(hours=12)
# And how long a function lives that was told to start something.
FUNCTION_LIFE = timedelta(minutes=10)
# What someone may be told who asks for something that is not to be had.
REFUSALS = ("job.not_found", "job.not_cancelable", "job.not_retryable")
DAMAGED = b"damaged"
# What stand-in workers write: what a model makes of silence.
CONTENTS = {
    "words.json": json.dumps({"language": "en", "duration_s": 1.0, "segments": [], "model": "stand-in"}).encode(),
    "turns.json": json.dumps({"duration_s": 1.0, "turns": []}).encode(),
}


@dataclass
class Clock:
    """One time for all, and the error of the clock of whoever looks at it now."""

    time: datetime = START
    error: timedelta = timedelta()

    def now(self) -> datetime:
        return self.time + self.error


@dataclass
class Bus:
    """The topic: it keeps what it was given."""

    down: bool = False
    published: list[Event] = field(default_factory=list)

    def publish(self, events: Sequence[Event]) -> None:
        if self.down:
            raise PipelineError("service.unavailable")
        self.published += events


@dataclass
class Prober:
    broken: bool = False

    def __post_init__(self) -> None:
        self.read: Callable[[ObjectRef], bytes] = lambda _: b""

    def probe(self, ref: ObjectRef) -> Probe:
        if self.broken:
            raise PipelineError("service.unavailable")
        if self.read(ref) == DAMAGED:
            raise PipelineError("media.corrupt")
        return Probe(container="wav", audio_codec="pcm_s16le", duration_s=1.0, sample_rate_hz=16_000, channels=1)


@dataclass
class Worker:
    """A process that works on one call. It hears of a cancelation late or never, and goes on."""

    call_id: str
    job_id: str
    stage: str
    attempt: int
    begun_at: datetime
    call: Call = field(default_factory=lambda: Call(CallState.RUNNING))
    dead: bool = False


@dataclass
class Runner:
    """Knows the calls of its present life alone."""

    clock: Clock
    down: bool = False
    life: int = 1
    workers: dict[str, Worker] = field(default_factory=dict)

    def start(self, request: StageRequest) -> str:
        return self.accept(request.job_id, request.stage, request.attempt)

    def accept(self, job_id: str, stage: str, attempt: int) -> str:
        self._answer()
        call_id = f"{self.life}/{job_id}/{stage}/{attempt}"
        self.workers.setdefault(call_id, Worker(call_id, job_id, stage, attempt, self.clock.time))
        return call_id

    def poll(self, call_id: str) -> Call:
        self._answer()
        worker = self.workers.get(call_id)
        return worker.call if worker and call_id.startswith(f"{self.life}/") else Call(CallState.LOST)

    def cancel(self, call_id: str) -> None:
        self._answer()
        worker = self.workers.get(call_id)
        if worker is not None and worker.call.state is CallState.RUNNING:
            worker.call = Call(CallState.FAILED, PipelineError("stage.lost").info)

    def able(self) -> list[Worker]:
        """Workers that can still do something, in an order that does not depend on threads."""
        return [worker for _, worker in sorted(self.workers.items()) if not worker.dead]

    def _answer(self) -> None:
        if self.down:
            raise PipelineError("service.unavailable")


@dataclass(frozen=True)
class Message:
    """Something on its way: a report, a fact of a dispatcher, or the news of an upload."""

    name: str
    arrive: Callable[[], object] = field(compare=False)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Claim:
    """A stage that a dispatcher was told to start, and has not yet."""

    job: Job
    stage: str
    begun_at: datetime

    @property
    def attempt(self) -> int:
        return self.job.stages[self.stage].attempt

    def __repr__(self) -> str:
        return f"{self.job.job_id}/{self.stage}/{self.attempt}"


class World:
    """Everything that can happen to jobs, one thing at a time.

    Args:
        given: Services to take the stores from.
        store: Where jobs are kept, if not there.
    """

    def __init__(self, given: GivenServices, store: HistoryStore | None = None) -> None:
        self.clock, self.bus, self.runner, self.prober = Clock(), Bus(), Runner(Clock()), Prober()
        self.runner.clock = self.clock
        self.prober.read = given.objects.read
        self.store = WatchedStore(store or given.jobs)  # type: ignore[arg-type]
        self.services: Services = replace(
            given,
            settings=given.settings.model_copy(
                update={"upload_expires_s": 300.0, "upload_grace_s": 60.0, "lease_s": LEASE_S}
            ),
            clock=self.clock,
            jobs=self.store,
            events=self.bus,
            runner=self.runner,
            prober=self.prober,
        )
        self.network: list[Message] = []
        self.lost: list[Message] = []
        self.sent: list[Message] = []
        self.claims: list[Claim] = []
        self.generations: dict[str, int] = {}

    @property
    def jobs(self) -> list[Job]:
        """The jobs as last committed."""
        return [versions[-1] for versions in self.store.versions.values()]

    def attempt(self, act: Callable[[], object]) -> bool:
        """Do something that may meet a service that is away; return whether it was done."""
        away = self.runner.down or self.bus.down or self.prober.broken or bool(self.store.fault)
        try:
            act()
        except PipelineError as error:
            if error.code not in REFUSALS and not (away and error.code == "service.unavailable"):
                raise
            return False
        return True

    def create(self, *, diarize: bool, deadline_s: float | None) -> None:
        job_id = f"job_{len(self.jobs) + 1}"
        now = self.clock.now()
        self.services.jobs.create(
            new_job(
                job_id=job_id,
                tenant_id="t",
                filename="talk.wav",
                options=JobOptions(diarize=diarize),
                upload_expires_at=now + timedelta(seconds=self.services.settings.upload_expires_s),
                deadline_at=None if deadline_s is None else now + timedelta(seconds=deadline_s),
                now=now,
            )
        )

    def upload(self, job: Job, content: bytes) -> None:
        """The app sends its recording; a second time it is refused."""
        try:
            info = self.services.objects.write(
                upload_ref(self.services, "t", job.job_id), content, content_type="audio/wav"
            )
        except PipelineError as error:
            assert error.code == "object.exists"
        else:
            self.send(f"upload of {job.job_id}", lambda: receive_upload(self.services, info))
            # Of someone who looks at it at the same time, and is slower.
            verdict = self._verdict(job, info)
            self.send(f"{verdict.type} of {job.job_id}", lambda: apply_fact(self.services, job.job_id, verdict))

    def _verdict(self, job: Job, info: ObjectInfo) -> Fact:
        try:
            return MediaValidated(media=Media(object=info, filename=job.filename, probe=self.prober.probe(info)))
        except PipelineError as error:
            return MediaRejected(error=error.info)

    def send(self, name: str, arrive: Callable[[], object]) -> None:
        self.network.append(Message(name, arrive))
        self.sent.append(self.network[-1])

    def claim(self, job: Job) -> None:
        """A dispatcher takes what is due, and has not yet done any of it."""
        step = self.store.update(
            job.job_id, lambda now_is: advance(now_is, StagesClaimed(lease_s=LEASE_S), self.clock.now())
        )
        self.claims += [Claim(step.job, name, self.clock.time) for name in step.dispatch]

    def work_off(self, claim: Claim, how: str) -> None:
        """A dispatcher does what it was told to, however late; what comes of it is on its way to the store."""
        self.claims.remove(claim)
        job_id, stage, attempt = claim.job.job_id, claim.stage, claim.attempt
        fact: Fact
        if how == "dies" or self.clock.time >= claim.begun_at + FUNCTION_LIFE:
            return
        if how == "fails":
            fact = StageFailed(stage=stage, attempt=attempt, error=PipelineError("internal").info)
        elif STAGES[stage].placement == "function":
            fact = self._run_here(claim)
        elif how == "away":
            fact = StageDeferred(stage=stage, attempt=attempt, error=PipelineError("service.unavailable").info)
        else:
            call_id = self.runner.accept(job_id, stage, attempt)
            fact = StageDispatched(stage=stage, attempt=attempt, call_id=call_id)
        self.send(f"{fact.type} of {claim}", lambda: apply_fact(self.services, job_id, fact))

    def _run_here(self, claim: Claim) -> Fact:
        """As a function would: from the artifacts that were there when it was claimed, written once."""
        inputs = {
            artifact.kind: self.services.objects.read(artifact.object)
            for before in upstream(STAGES[claim.stage], STAGES)
            for artifact in claim.job.stages[before.name].artifacts
        }
        result = FUNCTION_STAGES[claim.stage](claim.job.options, inputs)
        artifacts = tuple(
            Artifact(
                kind=product.kind,
                filename=product.filename,
                object=self.write(artifact_ref(self.services, claim.job, product), result.files[product.filename]),
            )
            for product in STAGES[claim.stage].products
        )
        return StageCompleted(stage=claim.stage, attempt=claim.attempt, artifacts=artifacts)

    def write(self, ref: ObjectRef, content: bytes) -> ObjectInfo:
        try:
            return self.services.objects.write(ref, content, content_type="application/json")
        except PipelineError as error:
            assert error.code == "object.exists"
            return self.services.objects.stat(ref)

    def act(self, worker: Worker, how: str) -> None:
        """A worker gets on, ends in one way or another, or is gone."""
        error = PipelineError("media.corrupt" if how == "refuses" else "stage.crashed").info
        if how == "gets on":  # and the network may turn its reports round
            for progress in (0.2, 0.9):
                self.report(worker, StageProgressed(stage=worker.stage, attempt=worker.attempt, progress=progress))
            return
        worker.dead = True
        running = worker.call.state is CallState.RUNNING
        if how in ("completes", "completes silently", "completes without artifacts"):
            if self.clock.time >= worker.begun_at + URL_LIFE:
                return
            if how != "completes without artifacts":
                self.write_artifacts(worker)
            done = StageCompleted(stage=worker.stage, attempt=worker.attempt)
            if how != "completes silently":
                self.report(worker, done)
            worker.call = Call(CallState.SUCCEEDED, report=done) if running else worker.call
        elif how in ("fails", "refuses"):
            self.report(worker, StageFailed(stage=worker.stage, attempt=worker.attempt, error=error))
            worker.call = Call(CallState.FAILED, error) if running else worker.call
        elif how == "crashes":
            worker.call = Call(CallState.FAILED, error) if running else worker.call
        else:
            assert how == "hangs"

    def write_artifacts(self, worker: Worker) -> None:
        for product in STAGES[worker.stage].products:
            ref = artifact_ref(self.services, self.store.versions[worker.job_id][-1], product)
            self.write(ref, CONTENTS[product.filename])

    def report(self, worker: Worker, report: StageProgressed | StageCompleted | StageFailed) -> None:
        token = self.services.report_tokens.sign(worker.job_id, worker.stage, worker.attempt)
        self.send(
            f"{report.type} of {worker.call_id}",
            lambda: receive_report(self.services, worker.job_id, report, token),
        )

    def restart_runner(self) -> None:
        """All workers die, and nobody knows their calls any more."""
        self.runner.life += 1
        for worker in self.runner.workers.values():
            worker.dead = True
