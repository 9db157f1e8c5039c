"""What watches a pass: bait that nobody may take, a folder in which nothing may appear, and memory."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.crafted import wav
from tests.hostile.hostile import Bait

# Of the bait's sound, and of no other file's.
BAIT_RATE_HZ = 11_111


class _Trap(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        self.callers: list[str] = []
        self.content = content
        super().__init__(("127.0.0.1", 0), _Served)


class _Served(socketserver.StreamRequestHandler):
    server: _Trap

    def handle(self) -> None:
        self.server.callers.append(repr(self.rfile.readline(500)))
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.server.content)}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + self.server.content)


@dataclass(frozen=True)
class Baited:
    """Bait that is out.

    Attributes:
        callers: First lines of those who called its server.
    """

    bait: Bait
    callers: list[str]

    def taken(self) -> list[str]:
        """Who called since this was asked last."""
        taken = self.callers[:]
        del self.callers[:]
        return taken


@contextmanager
def trap(folder: Path) -> Iterator[Baited]:
    """Put out bait, in a folder and on a server."""
    path = folder / "bait.wav"
    content = wav(BAIT_RATE_HZ, 1, bytes(2 * BAIT_RATE_HZ))
    path.write_bytes(content)
    with _Trap(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Baited(Bait(f"http://127.0.0.1:{server.server_address[1]}/bait.wav", str(path)), server.callers)
        finally:
            server.shutdown()
            thread.join()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path under a folder, with its size and the time of its last change."""
    return {
        str(path.relative_to(folder)): (stat.st_size, stat.st_mtime_ns) if path.is_file() else (0, 0)
        for path in sorted(folder.rglob("*"))
        for stat in (path.lstat(),)
    }


def peak_bytes(pid: int | None) -> int:
    """The most memory a process ever held; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    if pid is None or not status.exists():
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line), 0)
