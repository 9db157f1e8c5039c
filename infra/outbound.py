"""HTTP to addresses that tenants name, which must not lead into private networks.

A name is resolved once, every address it has must be public, and the connection goes to just that address: a name that
leads elsewhere a moment later gains nothing. Each request has one limit for everything, from resolving to the last
byte. Proxies of the environment are not used, and nothing is redirected but by :func:`open_source`, which checks anew.
"""

import functools
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import certifi
import httpcore

from infra.settings import Settings
from shared.addresses import Network, check_url, may_be_called, read_address
from shared.errors import PipelineError

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CONNECT_S = 5.0
_WRITTEN_AT_ONCE = 65_536


@dataclass(frozen=True)
class Answer:
    """What another server answered.

    Attributes:
        headers: By their names in lower case.
        body: As far as it was read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Outbound:
    """Makes requests. Holds no connection between them, so that none is made to an address that is not checked.

    Args:
        allowed: Networks that may be called though they are not public.
    """

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = allowed

    def post(
        self, url: str, *, headers: Mapping[str, str], content: bytes, limit_s: float, max_answer_bytes: int = 65_536
    ) -> Answer:
        """Post once, and read the beginning of the answer. A redirect is an answer like any other.

        Raises:
            PipelineError: ``outbound.refused``, ``outbound.failed``.
        """
        with self._stream("POST", url, headers, content, time.monotonic() + limit_s) as (answer, body):
            return Answer(answer.status, answer.headers, _first(body, max_answer_bytes))

    @contextmanager
    def open_source(
        self, url: str, *, limit_s: float, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Read what is at a URL, as a stream. At most five redirects are followed, each checked as the URL itself.

        Args:
            url: Absolute.
            limit_s: For everything: redirects, and the content until its end.
            max_bytes: Of the content.
            headers: Sent along as far as the URL's own origin.

        Raises:
            PipelineError: ``outbound.refused``; ``outbound.failed``, also for a status that is none of success, and
                while the content is read; ``media.too_large``, also while it is read.
        """
        deadline, sent = time.monotonic() + limit_s, dict(headers or {})
        for _ in range(MAX_REDIRECTS + 1):
            with self._stream("GET", url, sent, None, deadline) as (answer, body):
                if answer.status in _REDIRECTS and (location := answer.headers.get("location")):
                    after = _joined(url, location)
                    sent = sent if _origin(after) == _origin(url) else {}
                    url = after
                    continue
                if not 200 <= answer.status < 300:
                    message = f"It was answered by status {answer.status}."
                    raise PipelineError("outbound.failed", message, status=answer.status)
                length = answer.headers.get("content-length", "")
                if length.isdecimal() and int(length) > max_bytes:
                    raise PipelineError("media.too_large", max_bytes=max_bytes)
                yield answer, _bounded(body, max_bytes)
                return
        raise PipelineError("outbound.failed", f"There are more than {MAX_REDIRECTS} redirects.")

    @contextmanager
    def _stream(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, deadline: float
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        check_url(url, self._allowed)
        backend = _Pinned(self._allowed, deadline)
        with ExitStack() as stack:
            with _translated():
                parts = urlsplit(url)
                pool = httpcore.ConnectionPool(ssl_context=_tls(), max_connections=1, network_backend=backend)
                stack.enter_context(pool)
                response = stack.enter_context(
                    pool.stream(
                        method,
                        httpcore.URL(urlunsplit(parts._replace(fragment=""))),
                        headers=[
                            ("host", parts.netloc),
                            ("user-agent", "Earwitness/1"),
                            ("accept-encoding", "identity"),
                            *headers.items(),
                        ],
                        content=content,
                    )
                )
            names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            yield Answer(response.status, names), _content(response)


def outbound(settings: Settings) -> Outbound:
    """As a deployment allows it."""
    return Outbound(settings.outbound_allow)


class _Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, allowed: Sequence[Network], deadline: float) -> None:
        self._allowed = allowed
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, check, and connect to the first address that answers."""
        addresses = _resolved(host, port, _left(self._deadline))
        for text in addresses:
            address = read_address(text)
            if address is None or not may_be_called(address, self._allowed):
                raise PipelineError("outbound.refused", "The URL must lead to a public address.")
        for text in addresses[:-1]:
            try:
                return self._connect(text, port, _left(self._deadline, _CONNECT_S), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, _left(self._deadline, timeout), local_address, socket_options)

    def _connect(
        self, address: str, port: int, limit_s: float, local_address: str | None, options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        stream = self._sockets.connect_tcp(address, port, limit_s, local_address, options)
        return _Limited(stream, self._deadline)


class _Limited(httpcore.NetworkStream):
    """A stream that ends with its time: a server that sends a byte now and then does not hold it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            self._stream.write(buffer[start : start + _WRITTEN_AT_ONCE], _left(self._deadline, timeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on encrypted, for the name that was asked for and not for its address."""
        limit_s = _left(self._deadline, timeout)
        return _Limited(self._stream.start_tls(ssl_context, server_hostname, limit_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Of the connection."""
        return self._stream.get_extra_info(info)


def _resolved(host: str, port: int, limit_s: float) -> Sequence[str]:
    """Every address of a name. The system's resolver knows no limit, so a thread waits for it that nobody waits for."""
    found: Future[Sequence[str]] = Future()

    def resolve() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result([str(info[4][0]) for info in infos])
        except (OSError, UnicodeError) as error:
            found.set_exception(httpcore.ConnectError(f"{type(error).__name__}: the name is not known"))

    Thread(target=resolve, name="resolver", daemon=True).start()
    try:
        return found.result(limit_s)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from error


def _left(deadline: float, most_s: float | None = None) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left_s if most_s is None else min(left_s, most_s)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise PipelineError("outbound.failed", "It took too long.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise PipelineError("outbound.failed", _reason(error)) from error
    except (httpcore.UnsupportedProtocol, ValueError) as error:
        raise PipelineError("outbound.refused", "This is not a URL.") from error


def _content(response: httpcore.Response) -> Iterator[bytes]:
    # What whoever reads this raises is not the other server's fault, and is not translated.
    with _translated():
        yield from response.iter_stream()


def _first(body: Iterator[bytes], most: int) -> bytes:
    read = bytearray()
    for piece in body:
        read += piece
        if len(read) >= most:
            break
    return bytes(read[:most])


def _bounded(body: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    received = 0
    for piece in body:
        received += len(piece)
        if received > max_bytes:
            raise PipelineError("media.too_large", max_bytes=max_bytes)
        yield piece


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise PipelineError("outbound.refused", "It is redirected to what is not a URL.") from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _reason(error: Exception) -> str:
    """Why a connection failed, in words of ours: exceptions may hold parts of what was sent."""
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return "Its certificate is not valid."
    if isinstance(error, httpcore.ConnectError):
        return "It could not be reached."
    return "The connection broke, or what came was not HTTP."
