"""Apps that upload: a bounded number at once, each patient with a cloud that is away."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx

from shared.jobs import JobState

ACTIVE = tuple(state for state in JobState if not state.is_terminal)
# Jobs under way at once: enough that no part of the cloud waits for work.
WINDOW = 16
CLIENTS = 4
# What an app puts up with before it gives a request up.
PATIENCE_S = 120.0
_PAUSE_S = 0.2
_LOOK_S = 0.1


class Load:
    """Uploads so many recordings and waits for their ends, which it reads from the state itself: asking costs nothing.

    Args:
        url: Of the cloud.
        token: Of an API key.
        state: Its database.
        count: Recordings.
        content: Of each.
    """

    def __init__(self, url: str, token: str, state: Path, count: int, content: bytes) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._state = state
        self._content = content
        self._left = deque(range(count))
        self._changed = threading.Condition()
        self._active: set[str] = set()
        self._threads = [threading.Thread(target=self._client, name=f"app-{i}") for i in range(CLIENTS)]
        self._failures: list[str] = []
        self.accepted: list[str] = []
        self.retries = 0

    @property
    def ended(self) -> int:
        """Accepted jobs that have ended."""
        with self._changed:
            return len(self.accepted) - len(self._active)

    def run(self, *, stall_s: float, is_over: Callable[[], bool]) -> float:
        """Do it; return the seconds it took.

        Args:
            stall_s: It is given up when for so long no job has ended.
            is_over: Whether there is no cloud any more that could go on.
        """
        started, moved, ended = time.monotonic(), time.monotonic(), 0
        for thread in self._threads:
            thread.start()
        while (any(thread.is_alive() for thread in self._threads) or self._active) and not is_over():
            time.sleep(_LOOK_S)
            self._look()
            if self.ended != ended:
                moved, ended = time.monotonic(), self.ended
            if time.monotonic() - moved > stall_s:
                break
        took_s = time.monotonic() - started
        self._left.clear()
        with self._changed:
            self._active.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        return took_s

    def settle(self, *, within_s: float) -> None:
        """Wait until no message is under way any more, or for so long: the last jobs' events still are."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with closing(sqlite3.connect(f"file:{self._state}?mode=ro", uri=True, timeout=10.0)) as connection:
                if not connection.execute("SELECT count(*) FROM messages").fetchone()[0]:
                    return
            time.sleep(_LOOK_S)

    @property
    def failures(self) -> list[str]:
        """Requests that were given up, or answered as they must not be."""
        return self._failures

    def _look(self) -> None:
        marks = ", ".join("?" * len(ACTIVE))
        with closing(sqlite3.connect(f"file:{self._state}?mode=ro", uri=True, timeout=10.0)) as connection:
            rows = connection.execute(f"SELECT job_id FROM jobs WHERE state IN ({marks})", ACTIVE).fetchall()
        with self._changed:
            self._active &= {job_id for (job_id,) in rows}
            self._changed.notify_all()

    def _client(self) -> None:
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._active) < WINDOW or not self._left)
                try:
                    self._left.popleft()
                except IndexError:
                    return
                try:
                    self._upload(client)
                except (AssertionError, httpx.HTTPError) as error:
                    self._failures.append(repr(error))

    def _upload(self, client: httpx.Client) -> None:
        created = self._insist(lambda: self._create(client))
        assert created.status_code == 201, created.text
        job_id, upload = created.json()["job"]["job_id"], created.json()["upload"]
        with self._changed:
            # From here on it counts as under way, so that the window also bounds uploads.
            self._active.add(job_id)
            self.accepted.append(job_id)
        stored = self._insist(
            lambda: client.request(upload["method"], upload["url"], headers=upload["headers"], content=self._content)
        )
        # It is there already when only the answer to an earlier try was lost.
        assert stored.status_code in (200, 412), stored.text

    def _create(self, client: httpx.Client) -> httpx.Response:
        return client.post(f"{self._url}/v1/jobs", json={"content_type": "audio/wav"}, headers=self._headers)

    def _insist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = send()
                if not answer.is_server_error:
                    return answer
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, "the cloud did not come back"
            self.retries += 1
            time.sleep(_PAUSE_S)
