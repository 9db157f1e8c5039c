"""Receivers of webhooks: real servers, in this process or one of their own that can be killed.

``python -m tests.receivers PORT LOG SECRET SHARE SEED`` verifies each delivery with the library, refuses a share of
them by status 503, and writes a line of JSON for each, before it answers.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from standardwebhooks import Webhook

from tests.clouds import wait_for


@dataclass(frozen=True)
class Got:
    """One request."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """What it says, if it is signed with a secret; raises otherwise."""
        return Webhook(secret).verify(self.body, dict(self.headers))


Answer = Callable[[Got], tuple[int, Mapping[str, str]]]


def accept(_got: Got) -> tuple[int, Mapping[str, str]]:
    return 204, {}


@dataclass
class Receiver:
    """A server that keeps what it gets."""

    url: str
    answer: Answer = accept
    got: list[Got] = field(default_factory=list)

    def of(self, path: str) -> list[Got]:
        return [got for got in self.got if got.path == path]

    def wait(self, count: int, path: str = "", *, timeout_s: float = 20.0) -> list[Got]:
        """The requests, once there are so many."""
        wait_for(lambda: len(self.of(path) if path else self.got) >= count, timeout_s=timeout_s)
        return self.of(path) if path else list(self.got)


@contextmanager
def receiving(answer: Answer = accept, *, port: int = 0) -> Iterator[Receiver]:
    """A receiver on 127.0.0.1."""
    receiver = Receiver("", answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            names = {name.lower(): value for name, value in self.headers.items()}
            got = Got(time.time(), self.path.partition("?")[0], names, body)
            receiver.got.append(got)
            status, headers = receiver.answer(got)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the other side gave up

    server = Server(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
    yield receiver
    server.shutdown()
    server.server_close()


@dataclass
class FlakyReceiver:
    """A process that verifies, refuses a share, and can be killed and started again."""

    port: int
    log: Path
    secret: str
    share: float
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        arguments = [str(self.port), str(self.log), self.secret, str(self.share), str(self.starts)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.receivers", *arguments])
        wait_for(self._answers, timeout_s=20.0)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def rows(self) -> list[dict[str, Any]]:
        """What it got in all its lives; a line that a kill cut off is none."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", trust_env=False).status_code == 404
        except httpx.TransportError:
            return False


def main(port: int, log: Path, secret: str, share: float, seed: int) -> None:
    chance, written = random.Random(seed), log.open("a", buffering=1)

    def answer(got: Got) -> tuple[int, Mapping[str, str]]:
        try:
            event, is_verified = got.verified(secret)["data"]["event_id"], True
        except Exception:  # noqa: BLE001 (the library raises what it likes for what is not signed)
            event, is_verified = "", False
        status = 503 if chance.random() < share else 204
        row = {"at": got.at, "id": got.id, "event": event, "verified": is_verified, "status": status}
        written.write(json.dumps(row) + "\n")
        return status if is_verified else 400, {}

    with receiving(answer, port=port):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
