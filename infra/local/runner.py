"""GPU stages on this machine: one warm worker process a stage, fed one attempt at a time."""

import itertools
import json
import logging
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from infra.answers import answered_call
from infra.child import Child, ChildDied, ChildTimeout
from shared.errors import PipelineError
from shared.options import Priority
from shared.ports import Call, CallState
from shared.requests import StageRequest
from shared.stages import STAGES

log = logging.getLogger(__name__)

WORKER = (sys.executable, "-m", "gpu_jobs.worker")
_FINISHED_KEPT = 1000
_RANKS = {priority: rank for rank, priority in enumerate(get_args(Priority))}


class LocalRunner:
    """Implements :class:`shared.ports.StageRunner` with ``python -m gpu_jobs.worker STAGE`` processes.

    A worker that crashes fails the attempt it ran and is restarted for the next. Calls are known to this
    object alone: after a restart of the whole cloud every earlier call is lost, which is the truth.

    Args:
        models_dir: Where workers find model files.
        log_dir: One log file a stage; made if need be.
        worker: Command of a worker, to which the stage's name is added.
    """

    def __init__(self, models_dir: Path, log_dir: Path, worker: Sequence[str] = WORKER) -> None:
        # Tells the calls of this start of the cloud from those of all others.
        self._boot_id = secrets.token_hex(8)
        log_dir.mkdir(parents=True, exist_ok=True)
        stages = [name for name, stage in STAGES.items() if stage.placement == "gpu"]
        self._workers = {
            name: _StageWorker(name, (*worker, name), models_dir, log_dir / f"{name}.log") for name in stages
        }

    def warm(self, stages: Sequence[str]) -> None:
        """Start workers now, so that they load their code and models while recordings are still on the way."""
        for name in stages:
            self._workers[name].warm()

    def start(self, request: StageRequest) -> str:
        """Queue an attempt behind those of the same stage that have its priority or a higher one."""
        call_id = f"{self._boot_id}/{request.job_id}/{request.stage}/{request.attempt}"
        self._workers[request.stage].submit(call_id, request)
        return call_id

    def poll(self, call_id: str) -> Call:
        """What became of a call of this boot."""
        return self._worker(call_id).poll(call_id) if self._knows(call_id) else Call(CallState.LOST)

    def cancel(self, call_id: str) -> None:
        """Take a call out of the queue, or kill the worker that runs it."""
        if self._knows(call_id):
            self._worker(call_id).cancel(call_id)

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers.values():
            worker.close()

    def pids(self) -> dict[str, int]:
        """Process id of each live worker, by stage."""
        return {name: pid for name, worker in self._workers.items() if (pid := worker.pid) is not None}

    def _knows(self, call_id: str) -> bool:
        return call_id.startswith(f"{self._boot_id}/")

    def _worker(self, call_id: str) -> "_StageWorker":
        return self._workers[call_id.split("/")[2]]


class _StageWorker:
    """A queue of attempts, a thread that feeds them to the process, and what became of each."""

    def __init__(self, stage: str, command: Sequence[str], models_dir: Path, log_path: Path) -> None:
        self._stage = stage
        self._child = Child(
            command,
            env=_environment(models_dir),
            stderr=log_path,
        )
        # By rank and then by arrival; what stands behind is never compared.
        self._requests: queue.PriorityQueue[tuple[int, int, tuple[str, StageRequest] | None]] = queue.PriorityQueue()
        self._arrivals = itertools.count()
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._current: str | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"runner-{stage}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def warm(self) -> None:
        self._child.start()

    def submit(self, call_id: str, request: StageRequest) -> None:
        with self._lock:
            if call_id in self._calls:
                return
            self._calls[call_id] = Call(CallState.RUNNING)
        self._requests.put((_RANKS[request.options.priority], next(self._arrivals), (call_id, request)))

    def poll(self, call_id: str) -> Call:
        with self._lock:
            return self._calls.get(call_id, Call(CallState.LOST))

    def cancel(self, call_id: str) -> None:
        with self._lock:
            call = self._calls.get(call_id)
            if call is None or call.state is not CallState.RUNNING:
                return
            self._calls[call_id] = Call(CallState.FAILED, PipelineError("stage.lost", "The attempt was canceled.").info)
            # Under the lock, so that the worker cannot have gone on to another call in between.
            if self._current == call_id:
                self._child.kill()

    def close(self) -> None:
        self._closing = True
        self._requests.put((-1, next(self._arrivals), None))
        self._child.close()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while (item := self._requests.get()[-1]) is not None:
            call_id, request = item
            with self._lock:
                waiting = self._calls.get(call_id)  # none, where it was canceled so long ago that it is forgotten
                if waiting is None or waiting.state is not CallState.RUNNING:
                    continue
                self._current = call_id
            call = self._call(request)
            with self._lock:
                self._current = None
                if self._calls[call_id].state is CallState.RUNNING:
                    self._calls[call_id] = call
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Keep a bounded number of calls that are over; those that wait or run are never forgotten."""
        finished = [call_id for call_id, call in self._calls.items() if call.state is not CallState.RUNNING]
        for call_id in finished[: max(0, len(finished) - _FINISHED_KEPT)]:
            del self._calls[call_id]

    def _call(self, request: StageRequest) -> Call:
        remaining_s = request.deadline.timestamp() - time.time()
        if remaining_s <= 0:  # it waited too long for its turn; a new attempt brings fresh URLs
            return Call(CallState.LOST)
        timeout_s = min(STAGES[self._stage].timeout_s, remaining_s)
        try:
            return answered_call(json.loads(self._child.call(request.to_json(), timeout_s=timeout_s)))
        except ChildTimeout:
            return Call(CallState.FAILED, PipelineError("stage.timeout").info)
        except (ChildDied, OSError, RuntimeError, ValueError) as error:
            if not self._closing:
                log.warning("the %s worker failed: %s", self._stage, error)
            return Call(CallState.FAILED, PipelineError("stage.crashed").info)


def _environment(models_dir: Path) -> dict[str, str]:
    """This process' own, without proxies: a worker here talks to loopback alone."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**direct, "EARWITNESS_MODELS_DIR": str(models_dir)}
