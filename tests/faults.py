"""Faults at the effects of adapters: the process dies before or after one, or its answer is lost.

A seam for tests: methods of live adapters are wrapped where they are, so that calls from within an adapter count too,
and nothing of the domain or the pipeline knows. Each effect is two points, by name, number and side:
``jobs.update#7/before`` and ``jobs.update#7/after``. Every point that is passed is told first, so a run without a fault
lists the points there are.
"""

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

from infra.local.database import Database
from shared.errors import PipelineError

# What each adapter does that lasts. Whatever only reads or computes is left out.
EFFECTS = {
    "jobs": ("create", "update", "mark_published", "erase_history"),
    "events": ("publish",),
    "objects": ("write", "commit", "delete", "open_session", "cancel_session", "remove_orphans"),
    "queue": ("lease", "acknowledge", "reject", "release_leases"),
    "runner": ("start", "cancel"),
}


class Kind(StrEnum):
    """What happens at a point."""

    DEATH = "death"
    LOST_ANSWER = "lost answer"  # before an effect: the request was lost
    DEAD_WORKER = "dead worker"


@dataclass(frozen=True)
class Fault:
    """A kind of fault at one point."""

    point: str
    kind: Kind = Kind.DEATH


class WorkerDied(BaseException):
    """The worker alone is gone, at this line: nothing in it can catch that."""


def unanswered() -> Exception:
    """What a service looks like whose answer got lost."""
    return PipelineError("service.unavailable", "The answer got lost.")


class Faults:
    """Counts effects, tells the points that are passed, and strikes at one of them.

    Args:
        passed: Told each point, while nothing else happens.
        fault: Where to strike, once.
    """

    def __init__(self, passed: Callable[[str], object], fault: Fault | None = None) -> None:
        self._passed = passed
        self._fault = fault
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def effect(self, name: str, lost: Callable[[], BaseException] = unanswered) -> Iterator[None]:
        """Around one effect, which is the block; ``lost`` makes what its caller sees when the answer is lost."""
        with self._lock:
            self._counts[name] += 1
            point = f"{name}#{self._counts[name]}"
        self._pass(f"{point}/before", lost)
        yield
        self._pass(f"{point}/after", lost)

    def watch(self, **adapters: object) -> None:
        """Wrap the methods that have effects, those there are, of adapters by the name of their port."""
        for port, adapter in adapters.items():
            for method in EFFECTS[port]:
                if hasattr(adapter, method):
                    setattr(adapter, method, self._watched(getattr(adapter, method), f"{port}.{method}"))

    def watch_commits(self, database: Database) -> None:
        """Wrap every write transaction: ``before`` is in it, its statements run, and ``after`` is behind its commit."""
        write: Callable[[], AbstractContextManager[sqlite3.Connection]] = database.write

        @contextmanager
        def watched() -> Iterator[sqlite3.Connection]:
            with ExitStack() as around, write() as connection:
                yield connection
                around.enter_context(self.effect("database.commit"))

        database.write = watched  # type: ignore[method-assign]

    def _watched(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*values: Any, **named: Any) -> Any:
            with self.effect(name):
                return method(*values, **named)

        return watched

    def _pass(self, point: str, lost: Callable[[], BaseException]) -> None:
        with self._lock:
            self._passed(point)
        if self._fault is None or self._fault.point != point:
            return
        match self._fault.kind:
            case Kind.DEATH:
                die()
            case Kind.LOST_ANSWER:
                raise lost()
            case Kind.DEAD_WORKER:
                raise WorkerDied


def lead_a_group() -> None:
    """Become the leader of a process group of one's own, so that death takes the whole tree and nothing else."""
    os.setsid()


def die() -> None:
    """``kill -9`` of this process and all its children, as a power cut would: no handler, no ``finally``, no flush."""
    if os.getpgrp() != os.getpid():
        raise RuntimeError("this process leads no group of its own, and would take others with it")
    os.killpg(os.getpid(), signal.SIGKILL)
    signal.pause()  # another thread may run this line before the signal arrives


def written_to(path: Path) -> Callable[[str], object]:
    """What writes down each point in a file, one a line, that outlives whatever happens at the point."""
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    return lambda point: os.write(file, f"{point}\n".encode())
