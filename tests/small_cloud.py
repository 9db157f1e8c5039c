"""The local cloud in one process and one thread, which may die at any line: a life costs milliseconds.

The stores, the queue, the object server, the functions and the delivery of messages are the local cloud's own, over
HTTP without sockets. What is not: one step follows the other in a fixed order instead of side by side, time passes when
nothing else can happen, every upload is taken for a recording, and the worker is a stand-in (``tests.outside``).
"""

import contextlib
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import wiring
from infra.callers import BearerToken
from infra.local.cloud import _app
from infra.local.database import Database
from infra.local.dispatcher import Dispatcher
from infra.local.document_store import LocalDocumentStore
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.local.object_server import object_server
from infra.local.object_store import LocalObjectStore
from infra.local.signing import UrlSigner
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.report_tokens import ReportTokens
from infra.settings import Settings
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.jobs import Job
from shared.media import ObjectRef
from tests.audit import WITNESS, audit
from tests.faults import Fault, Faults
from tests.outside import URL, Loopback, Phone, StandinRunner, replace
from tests.services import ToldClock, TrustingProber
from tests.ways import Way

_KEY = b"of this small cloud, for all its lives"
# A life takes about fifty; when nothing can be done, each comes after twice the time, up to twelve days.
_STEPS = 200
_LONGEST_PAUSE = 20
# The share of steps of another order that come behind a sweep.
_SWEEPS = 0.3


def live(folder: Path, way: Way, passed: Callable[[str], object], fault: Fault | None = None) -> None:
    """One life: start on what an earlier one left, and go on until nothing is left to do.

    Args:
        folder: The cloud's state.
        way: How the job goes.
        passed: Told each point.
        fault: What happens in this life.
    """
    cloud = SmallCloud(folder, way, Faults(passed, fault))
    try:
        cloud.run()
    finally:
        cloud.close()


class SmallCloud:
    """The parts, put together as ``infra.local.cloud`` does, each effect of theirs watched."""

    def __init__(self, folder: Path, way: Way, faults: Faults) -> None:
        database = _Unsynced(folder / "state.sqlite")
        audit(folder / "state.sqlite")
        faults.watch_commits(database)
        self._clock = KeptClock(folder / "clock.txt")
        self._database = database
        self._queue = EventQueue(
            database,
            {"orchestrate": ORCHESTRATED_EVENTS, WITNESS: ()},
            now=lambda: self._clock.now().timestamp(),
        )
        self._jobs = LocalJobStore(database)
        signer = UrlSigner(_KEY)
        settings = _SETTINGS.model_copy(update={"data_dir": folder, "retention_days": way.retention_days})
        self._objects = LocalObjectStore(
            database,
            folder / "objects",
            f"{URL}/storage",
            signer,
            self._clock,
            self._queue,
            notified={settings.uploads_bucket: "on_upload"},
        )
        if not way.runner_lives_on:
            shutil.rmtree(folder / "calls", ignore_errors=True)
        self._runner = StandinRunner(folder / "calls", self._at_half)
        faults.watch(jobs=self._jobs, events=self._queue, queue=self._queue, objects=self._objects, runner=self._runner)
        token = "of the cloud itself"
        wiring.install(
            GivenServices(
                settings=settings,
                clock=self._clock,
                jobs=self._jobs,
                documents=LocalDocumentStore(self._database),
                events=self._queue,
                deliveries=self._queue,
                objects=self._objects,
                runner=self._runner,
                prober=TrustingProber(),
                callers=BearerToken(token),
                report_tokens=ReportTokens(_KEY),
            )
        )
        _STORAGE.app = object_server(self._objects, signer, self._clock)
        server = Loopback(_APP, faults)
        self._worker = server.client("worker")
        self._cloud_itself = server.client("cloud", authorization=f"Bearer {token}")
        self._order = None if way.order is None else random.Random(way.order)
        self._way = way
        self._phone = Phone(folder / "phone.json", server.client("phone"), way)
        if way.inbox:
            dropped = ObjectRef(bucket=settings.uploads_bucket, name="inbox/default/a.wav")
            request = self._objects.sign_upload(dropped, content_type="audio/wav", max_bytes=1000, expires_s=3600.0)
            self._phone.known.setdefault("request", request.model_dump(mode="json"))
        self._server = server
        self._dispatcher = _DISPATCHER
        self._dispatcher._queue = self._queue
        self._dispatcher._client = server.client("delivery", authorization=f"Bearer {token}")

    def run(self) -> None:
        """Start, and take one step after the other."""
        self._until_answered(self._queue.release_leases)
        self._until_answered(self._objects.remove_orphans)
        idle = 0
        for _ in range(_STEPS):
            if self._order and self._order.random() < _SWEEPS:
                self._sweep()
            if self._step():
                idle = 0
            elif self._is_settled():
                return
            else:
                # The scheduler's turn; then nothing can happen before some time has passed.
                self._sweep()
                self._clock.pass_by(seconds=2 ** min(idle, _LONGEST_PAUSE))
                idle += 1
        raise AssertionError(f"this cloud does not come to rest: {self._job()}")

    def close(self) -> None:
        """Leave no thread, loop or open file."""
        wiring.install(None)
        self._server.close()
        self._database.close()

    def _step(self) -> bool:
        """The next thing that can be done, if there is any."""
        if self._phone.has_something_to_do():
            self._phone.act()
            return True
        turns: list[Callable[[], bool]] = [self._deliver_one, self._run_one, self._phone.wish]
        if self._order:
            self._order.shuffle(turns)
        return any(turn() for turn in turns)

    def _run_one(self) -> bool:
        failing = "" if self._phone.has_wished("retry") else self._way.fails
        return not self._way.hangs and self._runner.run_one(self._worker, failing)

    def _at_half(self) -> None:
        """A worker has got half of it, and someone may want something just now. All hear of it before the worker."""
        if self._phone.wish(at_work=True):
            for _ in range(2):  # an answer may get lost
                if self._phone.has_something_to_do():
                    self._phone.act()
            while self._deliver_one():
                pass
            self._sweep()

    def _deliver_one(self) -> bool:
        """Deliver what is due, if it is and if nothing of the same job waits before it."""
        if not self._is_due():
            return False
        try:
            messages = self._queue.lease(1, without=[WITNESS])
        except PipelineError:  # the dispatcher goes on likewise
            return True
        for message in messages:
            self._dispatcher._deliver(message)
        return bool(messages)

    def _sweep(self) -> None:
        # Whether it is answered does not matter to the scheduler.
        with contextlib.suppress(httpx.TransportError):
            self._cloud_itself.post("/functions/sweep/")

    def _is_due(self) -> bool:
        rows = self._database.query(
            "SELECT 1 FROM messages WHERE subscription <> ? AND due_at <= ?", (WITNESS, self._clock.now().timestamp())
        )
        return bool(rows)

    def _is_settled(self) -> bool:
        waiting = self._database.query("SELECT 1 FROM messages WHERE subscription <> ?", (WITNESS,))
        job = self._job()
        ended = job is not None and job.state is self._way.end and self._phone.is_content
        return ended and not waiting and not self._jobs.unpublished()

    def _job(self) -> Job | None:
        """The one that is followed, once it is there: the phone's, or what was made for what lies in the inbox."""
        if "job_id" in self._phone.known:
            return self._jobs.get(self._phone.known["job_id"])
        return next(iter(self._jobs.list()), None)

    @staticmethod
    def _until_answered(effect: Callable[[], object]) -> None:
        """A cloud that cannot start is started again."""
        try:
            effect()
        except PipelineError:
            effect()


class _Unsynced(Database):
    """Does not wait for the disk: what a killed process has written the kernel keeps; only a power cut would not."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA synchronous=OFF")
        return connection


class _Storage:
    """The object server of this process, once there is one."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


# Loaded once: every life is a fork of a process that has imported this module.
_STORAGE = _Storage()
_APP = _app(_STORAGE)
# Sweep would look for uploads whose event is late; without that net a lost one is seen.
_SETTINGS = Settings(public_url=URL, upload_late_s=1e6, api_access="platform")
_DISPATCHER = Dispatcher(None, f"{URL}/functions", "")  # type: ignore[arg-type]


class KeptClock(ToldClock):
    """Stands still until it is told otherwise, and goes on after a death; near the real time, which stores use too."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            replace(path, str(time.time()))
        super().__init__(datetime.fromtimestamp(float(path.read_text()), UTC))
        self._path = path

    def pass_by(self, **span: float) -> None:
        super().pass_by(**span)
        replace(self._path, str(self.time.timestamp()))
