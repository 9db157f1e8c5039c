"""The whole local cloud, with its threads, sockets and processes, killed with its tree at effects of its adapters.

``test_crash_points`` strikes at every point, in one process and one thread; here a few of them, in the real thing.
``EARWITNESS_TEST_CRASHES=all`` strikes at all of them.
"""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.database import Database
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from tests.audit import Result, audited
from tests.clouds import Phone, token_of, wait_for
from tests.media import encode, tone
from tests.struck import ALL, CORES, KILLED, SEED, each

WAV = encode("wav", tone(2.0))
# The dispatcher leases as often as it looks, and every port's effect is a commit too: neither has steady numbers here.
UNSTEADY = ("queue.lease", "queue.release_leases", "objects.remove_orphans", "database.commit")

pytestmark = pytest.mark.timeout(3600 if ALL else 300)


class WholeCloud:
    """A folder, a port, and what a phone knows that outlives the cloud."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._port = _free_port()
        self._known: dict[str, Any] = {}

    @property
    def job_id(self) -> str:
        return str(self._known["job"]["job_id"])

    @contextmanager
    def running(self, passed: str, *point: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.faulty_cloud", str(self.folder), str(self._port), passed, *point]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip()
            yield process
            process.terminate()
            process.wait(20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)

    def visit(self) -> bool:
        """What a phone does until its job has ended; whether it got that far before the line broke."""
        phone = Phone(f"http://127.0.0.1:{self._port}", token_of(self.folder / "cloud"))
        try:
            if not self._known:
                self._known = phone.create(content_type="audio/wav")
            upload = self._known["upload"]
            answer = phone.put(upload, WAV)
            assert answer.status_code in (200, 412), answer.text
            assert phone.wait(self.job_id)["state"] == "completed"
        except httpx.TransportError:
            return False
        return True

    def rest(self, process: subprocess.Popen[str]) -> None:
        """Wait until nothing is under way any more, or the cloud is dead."""
        database = Database(self.folder / "cloud" / "state.sqlite")
        queue, jobs = EventQueue(database, {}), LocalJobStore(database)
        wait_for(lambda: process.poll() is not None or (not queue.depth() and not jobs.unpublished()))
        database.close()

    def result(self) -> Result:
        return audited(self.folder / "cloud", self.job_id, has_witness=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Result]:
    cloud = WholeCloud(tmp_path_factory.mktemp("undisturbed") / "whole")
    with cloud.running("passed.txt") as process:
        assert cloud.visit()
        cloud.rest(process)
    return (cloud.folder / "passed.txt").read_text().splitlines(), cloud.result()


def test_the_whole_cloud_is_killed_at_a_point(
    undisturbed: tuple[list[str], Result], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    passed, expected = undisturbed

    def kill(number: int, point: str) -> bool:
        cloud = WholeCloud(tmp_path / f"{number}")
        with cloud.running("passed1.txt", point) as process:
            if cloud.visit():
                cloud.rest(process)
        with cloud.running("passed2.txt") as second:
            assert cloud.visit()
            cloud.rest(second)
        assert cloud.result() == expected
        return process.returncode == KILLED  # or there were fewer effects of this name, this time

    steady = [point for point in passed if not point.startswith(UNSTEADY)]
    cases = steady if ALL else random.Random(SEED).sample(steady, 6)
    with ThreadPoolExecutor(CORES) as pool:
        tell(f"{each(pool, cases, kill)} kills of the whole cloud at {len(cases)} of {len(steady)} points")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
