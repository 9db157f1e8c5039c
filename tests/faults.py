"""Faults at the effects of adapters: the process dies before or after one, or its answer is lost.

A seam for tests: methods of live adapters are wrapped where they are, so that calls from within an adapter count too,
and nothing of the domain or the pipeline knows. Each effect is two points, by name, number and side:
``jobs.update#7/before`` and ``jobs.update#7/after``. Every point that is passed is written down first, so a run without
a fault lists the points there are.
"""

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    "jobs": ("create", "update", "mark_published", "delete"),
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
    """A kind of fault at one point: of this name, or the one that a process passes as its so-many-th, from 1."""

    point: str | int
    kind: Kind = Kind.DEATH


class WorkerDied(BaseException):
    """The worker alone is gone, at this line: nothing in it can catch that."""


def unanswered() -> Exception:
    """What a service looks like whose answer got lost."""
    return PipelineError("service.unavailable", "The answer got lost.")


class Faults:
    """Counts effects, writes down the points that are passed, and strikes at one of them.

    Args:
        passed: File that points are appended to, one a line.
        fault: Where to strike, once.
    """

    def __init__(self, passed: Path, fault: Fault | None = None) -> None:
        self._passed = os.open(passed, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._fault = fault
        self._counts: Counter[str] = Counter()
        self._points = 0
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
            self._points += 1
            number = self._points
            os.write(self._passed, f"{point}\n".encode())
        if self._fault is None or self._fault.point not in (point, number):
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


def points(passed: Path) -> Sequence[str]:
    """The points that a process has passed, in order; those that a second process passed are behind the first's."""
    return passed.read_text().splitlines()
