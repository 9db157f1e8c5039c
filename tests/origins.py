"""A server of recordings on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.media import encode, tone

WAV = encode("wav", tone(1.0))
SECRET = "signature-that-nobody-sees"
NAMED = "attachment; filename*=UTF-8''..%2F%C3%9Cbung%0A.wav"


@dataclass
class Origin:
    """What was asked of it, and sent by it; each path behaves as its name says."""

    url: str
    asked: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def count(self, path: str) -> int:
        return sum(asked.partition("?")[0] == path for asked in self.asked)


@contextmanager
def serving() -> Iterator[Origin]:
    """Serve until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            origin.asked.append(self.path)
            match path.strip("/").split("/"):
                case ["ok" | "named", *_]:
                    self._answer(200, WAV, **({"content-disposition": NAMED} if path.startswith("/named") else {}))
                case ["twice-broken", *_]:
                    self._answer(200 if origin.count(path) > 2 else 500, WAV)
                case ["cut", *_]:
                    body = WAV if origin.count(path) > 1 else WAV[:1000]
                    self._answer(200, body, **{"content-length": str(len(WAV))})
                case ["status", code, *_]:
                    self._answer(int(code))
                case ["to-private"]:
                    self._answer(302, location="http://10.0.0.1/latest/meta-data")
                case ["around", *_]:
                    self._answer(302, location=path)
                case ["moved"]:
                    self._answer(307, location=f"/ok/talk.wav?key={SECRET}")
                case ["large"]:
                    self._pour(b"x" * 10_000, 0.0)
                case ["drip"]:
                    self._pour(b"x", 0.02)

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"content-type": "audio/x-wav", "content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def _pour(self, piece: bytes, pause_s: float) -> None:
            """Without an end, and without saying how much it is."""
            self.send_response(200)
            self.end_headers()
            try:
                while not origin.ended.wait(pause_s):
                    self.wfile.write(piece)
                    origin.sent[self.path] = origin.sent.get(self.path, 0) + len(piece)
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    origin = Origin(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield origin
    origin.ended.set()
    server.shutdown()
    server.server_close()
