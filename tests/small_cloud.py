"""The local cloud in one process and one thread, which may die at any line: a life costs milliseconds.

The stores, the queue, the object server, the functions and the delivery of messages are the local cloud's own, over
HTTP without sockets. What is not: one step follows the other in a fixed order instead of side by side, time passes when
nothing else can happen, every upload is taken for a recording, and the worker is a stand-in (``tests.outside``).
"""

import contextlib
import os
import random
import secrets
import sqlite3
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import wiring
from infra.callers import BearerToken
from infra.local.cloud import _app
from infra.local.database import Database
from infra.local.dispatcher import Dispatcher
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.local.object_server import object_server
from infra.local.object_store import LocalObjectStore
from infra.local.signing import UrlSigner
from infra.pipeline.dispatch import DISPATCHING_EVENTS
from infra.report_tokens import ReportTokens
from infra.settings import Settings
from infra.wiring import GivenServices
from shared.errors import PipelineError
from tests.audit import WITNESS, audit
from tests.faults import Fault, Faults, lead_a_group
from tests.outside import URL, Loopback, Phone, StandinRunner, replace
from tests.services import ToldClock, TrustingProber

_KEY = b"of this small cloud, for all its lives"
_NEVER_S = 1e6
# Sweeps without anything else to do: more than half an hour.
_PATIENCE = 40
# The share of steps of another order that come behind a sweep.
_SWEEPS = 0.3


@dataclass(frozen=True)
class Way:
    """How a job goes, in all lives of one cloud.

    Attributes:
        resumable: The phone uploads by a resumable session.
        runner_lives_on: Calls go on while the cloud is dead and reach it later, as on Modal; otherwise they die with
            it, as the local runner's do.
        order: Seed of an order of its own, with sweeps in between; otherwise messages go before calls, and sweeps come
            when there is neither.
    """

    resumable: bool = False
    runner_lives_on: bool = False
    order: int | None = None


def live(folder: Path, way: Way, passed: str, fault: Fault | None) -> None:
    """One life: start on what an earlier one left, and go on until nothing is left to do. The body of a process.

    Args:
        folder: The cloud's state.
        way: How the job goes.
        passed: Name of the file in ``folder`` that points are written to.
        fault: What happens in this life.
    """
    lead_a_group()
    log = os.open(folder / "log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 2)
    try:
        SmallCloud(folder, way, Faults(folder / passed, fault)).run()
    except BaseException:  # noqa: BLE001 - the end of a process: whatever it was is told in its log
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


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
            {"orchestrate": DISPATCHING_EVENTS, WITNESS: ()},
            now=lambda: self._clock.now().timestamp(),
        )
        self._jobs = LocalJobStore(database)
        signer = UrlSigner(_KEY)
        # Sweep would look for uploads whose event is late; without that net a lost one is seen.
        settings = Settings(data_dir=folder, public_url=URL, upload_late_s=_NEVER_S)
        self._objects = LocalObjectStore(
            database,
            folder / "objects",
            f"{URL}/storage",
            signer,
            self._clock,
            self._queue,
            notified={settings.uploads_bucket: "on_upload"},
        )
        self._runner = StandinRunner(folder / "calls" / ("any life" if way.runner_lives_on else secrets.token_hex(4)))
        faults.watch(jobs=self._jobs, events=self._queue, queue=self._queue, objects=self._objects, runner=self._runner)
        token = "of the cloud itself"
        wiring.install(
            GivenServices(
                settings=settings,
                clock=self._clock,
                jobs=self._jobs,
                events=self._queue,
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
        self._phone = Phone(folder / "phone.json", server.client("phone"), resumable=way.resumable)
        self._server = server
        self._dispatcher = _DISPATCHER
        self._dispatcher._queue = self._queue
        self._dispatcher._client = server.client("delivery", authorization=f"Bearer {token}")

    def run(self) -> None:
        """Start, and take one step after the other."""
        self._until_answered(self._queue.release_leases)
        self._until_answered(self._objects.remove_orphans)
        idle = 0
        while idle < _PATIENCE:
            if self._order and self._order.random() < _SWEEPS:
                self._sweep()
            if self._step():
                idle = 0
            elif self._is_settled():
                return
            else:
                # The scheduler's turn; then nothing can happen before some time has passed.
                self._sweep()
                self._clock.pass_by(seconds=min(2**idle, 60))
                idle += 1
        raise AssertionError(f"this cloud does not come to rest: {self._phone.job_id}")

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
        turns: list[Callable[[], bool]] = [self._deliver_one, lambda: self._runner.run_one(self._worker)]
        if self._order:
            self._order.shuffle(turns)
        return any(turn() for turn in turns)

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
        ended = self._jobs.get(self._phone.job_id).state.is_terminal
        return ended and not waiting and not self._jobs.unpublished()

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
_DISPATCHER = Dispatcher(None, f"{URL}/functions", "")  # type: ignore[arg-type]


class KeptClock(ToldClock):
    """Stands still until it is told otherwise, and goes on after a death; near the real time, which stores use too."""

    def __init__(self, path: Path) -> None:
        super().__init__(datetime.fromtimestamp(float(path.read_text()) if path.exists() else time.time(), UTC))
        self._path = path

    def pass_by(self, **span: float) -> None:
        super().pass_by(**span)
        replace(self._path, str(self.time.timestamp()))
