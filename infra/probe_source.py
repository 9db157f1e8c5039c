"""Bytes of a file or of a URL, at any offset, for a reader that jumps about.

FFmpeg could open URLs itself. It is given these instead, because then a store that does not answer is told
from a file that is damaged (the one is tried again, the other is not), certificates are checked, no redirect
is followed, and no protocol of FFmpeg is ever opened, whatever a file refers to.
"""

import http.client
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from infra.probe_refusal import EMPTY, NOT_FOUND, UNREACHABLE, Refusal

BLOCK_BYTES = 128 * 1024
# A long file's index is megabytes long and read in order: ask for more the longer the reading goes on.
MAX_BLOCK_BYTES = 4 * 1024 * 1024
MAX_HELD_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_SOCKET_TIMEOUT_S = 10.0


class Source(Protocol):
    """Something of a known size that can be read anywhere."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from an offset; fewer at the end.

        Raises:
            Refusal: The bytes could not be had.
        """
        ...

    def close(self) -> None:
        """Let go of the file or connection."""
        ...


def open_source(location: str, *, timeout_s: float) -> Source:
    """Open a path or an ``http(s)`` URL.

    Args:
        location: Anything that does not start like a URL is a path.
        timeout_s: For all requests together.

    Raises:
        Refusal: It is not there, is empty, or its store does not answer.
    """
    source: Source
    if location.startswith(("http://", "https://")):
        source = UrlSource(location, deadline=time.monotonic() + timeout_s)
    else:
        source = PathSource(Path(location.removeprefix("file://")))
    if source.size == 0:
        source.close()
        raise Refusal(*EMPTY)
    return source


class PathSource:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except (OSError, ValueError):
            raise Refusal(*NOT_FOUND) from None
        self.size = self._file.seek(0, io.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from an offset; fewer at the end.

        Raises:
            Refusal: The disk failed.
        """
        if offset >= self.size:
            return b""  # A damaged index may point farther than a disk can seek.
        try:
            self._file.seek(offset)
            return self._file.read(length)
        except OSError:
            raise Refusal(*UNREACHABLE) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class UrlSource:
    """A URL whose server answers ranges, read in blocks that are kept.

    Args:
        url: ``http`` or ``https``.
        deadline: When to give up (``time.monotonic``).
    """

    def __init__(self, url: str, *, deadline: float) -> None:
        parts = urlsplit(url)
        try:
            connect: Callable[..., http.client.HTTPConnection] = (
                http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            )
            self._connection = connect(parts.hostname or "", parts.port, timeout=_SOCKET_TIMEOUT_S)
        except (ValueError, http.client.HTTPException):
            raise Refusal(*UNREACHABLE) from None
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._deadline = deadline
        self._blocks: dict[int, bytes] = {}
        self._held_bytes = 0
        self._next_offset = -1
        self._block_bytes = BLOCK_BYTES
        self.size = 0
        self._blocks[0] = self._fetch(0, BLOCK_BYTES)
        self._held_bytes = len(self._blocks[0])

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from an offset; fewer at the end.

        Raises:
            Refusal: The store did not answer, or not with the range.
        """
        content = bytearray()
        end = min(offset + length, self.size)
        while (position := offset + len(content)) < end:
            content += self._held(position)[: end - position]
        return bytes(content)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _held(self, position: int) -> bytes:
        for start, block in self._blocks.items():
            if start <= position < start + len(block):
                return block[position - start :]
        in_order = position == self._next_offset
        self._block_bytes = min(2 * self._block_bytes, MAX_BLOCK_BYTES) if in_order else BLOCK_BYTES
        # Indices and last frames live at the end, and whoever asks for one asks for the other.
        start = min(position, max(0, self.size - BLOCK_BYTES))
        block = self._fetch(start, self._block_bytes)
        if len(block) <= position - start:
            raise Refusal(*UNREACHABLE)
        while self._blocks and self._held_bytes + len(block) > MAX_HELD_BYTES:
            self._held_bytes -= len(self._blocks.pop(next(iter(self._blocks))))
        self._blocks[start] = block
        self._held_bytes += len(block)
        self._next_offset = start + len(block)
        return block[position - start :]

    def _fetch(self, offset: int, length: int) -> bytes:
        for is_last in (False, True):
            try:
                return self._request(offset, length)
            except (http.client.HTTPException, OSError, ValueError):
                # A kept connection may have been closed by the other side: once more on a new one.
                self._connection.close()
                if is_last:
                    raise Refusal(*UNREACHABLE) from None
        raise AssertionError("unreachable")

    def _request(self, offset: int, length: int) -> bytes:
        self._check_deadline()
        self._connection.timeout = min(_SOCKET_TIMEOUT_S, max(0.1, self._deadline - time.monotonic()))
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._connection.timeout)
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        self._connection.request("GET", self._target, headers=headers)
        response = self._connection.getresponse()
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            self._refuse(response)
            return b""
        self.size = int(response.headers["Content-Range"].rpartition("/")[2])
        content = bytearray()
        while piece := response.read1(_PIECE_BYTES):
            content += piece
            self._check_deadline()
            if len(content) > length:
                raise ValueError("more than was asked for")
        response.close()  # Read to its end: the connection stays open for the next.
        return bytes(content)

    def _refuse(self, response: http.client.HTTPResponse) -> None:
        self._connection.close()
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # No byte to start from: the object is empty.
        gone = response.status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE)
        raise Refusal(*(NOT_FOUND if gone else UNREACHABLE))

    def _check_deadline(self) -> None:
        if time.monotonic() > self._deadline:
            raise Refusal(*UNREACHABLE)


class SourceFile:
    """A source as the file object that PyAV reads.

    Attributes:
        failure: Why a read failed, kept here because FFmpeg forgets the reason.
        allowance_bytes: What may still be read before the file pretends to be over; ``None`` for all.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self.failure: Refusal | None = None
        self.allowance_bytes: int | None = None

    @property
    def is_spent(self) -> bool:
        """Whether more was to be read than was allowed."""
        return self.allowance_bytes is not None and self.allowance_bytes <= 0

    def read(self, length: int) -> bytes:
        """Bytes from where it stands."""
        if self.is_spent:
            return b""
        if self.allowance_bytes is not None:
            self.allowance_bytes -= length
        try:
            content = self._source.read_at(self._position, length)
        except Refusal as failure:
            self.failure = failure
            raise
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and tell where it stands now."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the source."""
        self._source.close()
