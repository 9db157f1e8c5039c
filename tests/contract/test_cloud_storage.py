"""Cloud Storage's own: what its client raises, answers that get lost or damaged, and how long anything takes.

Between the real client and fake-gcs-server stands a proxy that breaks what a test tells it to.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.storage.exceptions
import httpx
import pytest
import requests.exceptions
import urllib3.exceptions
from google.cloud.storage import Client, retry

from infra.gcp.failures import translated
from infra.gcp.object_store import CODES, CloudObjectStore, connect
from shared.errors import PipelineError
from shared.media import ObjectRef
from tests.emulators import Emulator, free_port

REF = ObjectRef(bucket="earwitness-between", name="t/job/ünï & ?.json")
Breaks = Callable[[BaseHTTPRequestHandler, httpx.Response], bool]


class Proxy:
    """Hands requests on to a server.

    Attributes:
        seen: Method and URL of each request.
        breaks: Called with each answer before it is handed back; one that says ``True`` has dealt with it.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.seen: list[tuple[str, str]] = []
        self.breaks: Breaks = lambda handler, answer: False

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        self.seen.append((handler.command, handler.path))
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "host"}
        answer = httpx.request(
            handler.command, self.upstream + handler.path, headers=headers, content=body, trust_env=False
        )
        if not self.breaks(handler, answer):
            reply(handler, answer.status_code, answer.content, dict(answer.headers))


def reply(handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        if name not in ("content-length", "content-encoding", "transfer-encoding", "date"):
            handler.send_header(name, value.replace(str(handler.server.upstream), str(handler.server.url)))  # type: ignore[attr-defined]
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(gcs: Emulator) -> Iterator[Proxy]:
    proxy = Proxy(gcs.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.handle(self)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A connection that ends in the middle is what these tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.upstream = gcs.url  # type: ignore[attr-defined]
        server.url = proxy.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield proxy
        server.shutdown()


@pytest.fixture
def objects(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudObjectStore]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    bucket = Client(project="test-project").create_bucket(REF.bucket)
    proxy.seen.clear()
    yield connect("test-project")
    proxy.breaks = lambda handler, answer: False
    bucket.delete(force=True)


def once(matches: Callable[[str, str], bool], how: Callable[[BaseHTTPRequestHandler, httpx.Response], None]) -> Breaks:
    """Break the answer to the first request that matches."""
    left = [True]

    def breaks(handler: BaseHTTPRequestHandler, answer: httpx.Response) -> bool:
        if not left or not matches(handler.command, handler.path):
            return False
        left.pop()
        how(handler, answer)
        return True

    return breaks


def always(how: Callable[[BaseHTTPRequestHandler, httpx.Response], None]) -> Breaks:
    return lambda handler, answer: how(handler, answer) is None


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(PipelineError) as refused:
        call()
    return refused.value.code


def write(objects: CloudObjectStore, content: bytes = b"content") -> Any:
    return objects.write(REF, content, content_type="text/plain")


def uploads(method: str, path: str) -> bool:
    return method in ("POST", "PUT") and path.startswith("/upload/")


def last_upload(method: str, path: str) -> bool:
    return method == "PUT" and path.startswith("/upload/")


FORGETS = pytest.mark.xfail(
    reason="fake-gcs-server 1.54 forgets a session once it is finished; the service would answer with the object",
    raises=PipelineError,
    strict=True,
)


@pytest.mark.parametrize(
    ("size", "lost"),
    [
        pytest.param(7, uploads, id="small"),
        pytest.param(9 << 20, uploads, id="start"),
        pytest.param(9 << 20, last_upload, id="end", marks=FORGETS),
    ],
)
@pytest.mark.parametrize("how", ["hangs up", "503"])
def test_a_write_whose_answer_was_lost_knows_its_object(
    objects: CloudObjectStore, proxy: Proxy, size: int, lost: Callable[[str, str], bool], how: str
) -> None:
    proxy.breaks = once(
        lost, lambda handler, _: hang_up(handler) if how == "hangs up" else reply(handler, 503, b"", {})
    )
    info = write(objects, b"x" * size)
    assert objects.stat(REF) == info
    assert objects.read(info) == b"x" * size


@pytest.mark.parametrize("theirs", [b"content", b"other"])
def test_a_write_whose_answer_was_lost_does_not_take_a_rivals_object_for_its_own(
    objects: CloudObjectStore, proxy: Proxy, theirs: bytes
) -> None:
    rival = write(objects, theirs)
    proxy.breaks = once(uploads, lambda handler, _: hang_up(handler))
    assert refusal(lambda: write(objects)) == "object.exists"
    assert objects.stat(REF) == rival


def test_generations_are_in_the_requests(objects: CloudObjectStore, proxy: Proxy) -> None:
    info = write(objects)
    proxy.seen.clear()
    objects.stat(info)
    objects.read(info)
    objects.delete(info)
    assert [method for method, _ in proxy.seen] == ["GET", "GET", "DELETE"]
    for _, path in proxy.seen:
        assert parse_qs(urlsplit(path).query)["generation"] == [str(info.generation)]


def test_content_that_arrives_damaged_is_unavailable(objects: CloudObjectStore, proxy: Proxy) -> None:
    write(objects)
    proxy.breaks = always(lambda handler, answer: reply(handler, 200, b"Content", dict(answer.headers)))
    assert refusal(lambda: objects.read(REF)) == "service.unavailable"


def cut_off(handler: BaseHTTPRequestHandler, answer: httpx.Response) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(len(answer.content)))
    handler.end_headers()
    handler.wfile.write(answer.content[:3])
    hang_up(handler)


def test_content_that_is_cut_off_is_fetched_again(objects: CloudObjectStore, proxy: Proxy) -> None:
    write(objects)
    proxy.breaks = once(lambda method, path: True, cut_off)
    assert objects.read(REF) == b"content"
    proxy.breaks = always(cut_off)
    assert refusal(lambda: objects.read(REF)) == "service.unavailable"


CALLS: dict[str, Callable[[CloudObjectStore], Any]] = {
    "stat": lambda objects: objects.stat(REF),
    "read": lambda objects: objects.read(REF),
    "write": write,
    "delete": lambda objects: objects.delete(REF),
}


def codes_of_all(objects: CloudObjectStore) -> tuple[dict[str, str], float]:
    """What each call is refused with, all at the same time, and how long the longest took."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(CALLS)) as pool:
        codes = pool.map(lambda call: refusal(lambda: call(objects)), CALLS.values())
        return dict(zip(CALLS, codes, strict=True)), time.monotonic() - began


@pytest.mark.parametrize("status", [400, 401, 403, 408, 409, 411, 429, 500, 503])
def test_every_status_is_a_typed_error_within_seconds(objects: CloudObjectStore, proxy: Proxy, status: int) -> None:
    proxy.breaks = always(lambda handler, _: reply(handler, status, b"<html>", {}))
    codes, took_s = codes_of_all(objects)
    assert set(codes.values()) == {"internal" if status in (400, 411) else "service.unavailable"}
    assert took_s < 8.0


def test_a_page_instead_of_an_answer_is_unavailable(objects: CloudObjectStore, proxy: Proxy) -> None:
    proxy.breaks = always(lambda handler, _: reply(handler, 200, b"<html>", {"content-type": "text/html"}))
    assert refusal(lambda: objects.stat(REF)) == refusal(lambda: write(objects)) == "service.unavailable"


def test_a_bucket_that_is_missing_takes_nothing(objects: CloudObjectStore) -> None:
    missing = ObjectRef(bucket="earwitness-missing", name="x")
    assert refusal(lambda: objects.write(missing, b"x", content_type="text/plain")) == "service.unavailable"


def test_a_closed_port_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    codes, took_s = codes_of_all(connect("test-project"))
    assert set(codes.values()) == {"service.unavailable"}
    assert took_s < 8.0


def test_a_server_that_says_nothing_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        codes, took_s = codes_of_all(connect("test-project"))
    assert set(codes.values()) == {"service.unavailable"}
    assert took_s < 8.0


def test_a_process_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no such file.json")
    assert refusal(lambda: connect("test-project")) == "service.unavailable"


def exceptions() -> Iterator[type[Exception]]:
    """Every exception of every library that the client is made of.

    Those of ``google.resumable_media``, which it depends on, are never raised: they are bases of its own.
    """
    modules = (
        google.api_core.exceptions,
        google.auth.exceptions,
        google.cloud.storage.exceptions,
        requests.exceptions,
        urllib3.exceptions,
    )
    for module in modules:
        for found in vars(module).values():
            is_exception = isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, Warning)
            if is_exception and found.__module__.startswith(("google.a", "google.cloud.", "requests.", "urllib3.")):
                yield found  # and is not merely imported there


# Raised only by what is not called here: downloads of many files into a folder, and asynchronous clients.
ELSEWHERE = {
    google.cloud.storage.exceptions.InvalidPathError,
    google.api_core.exceptions.AsyncRestUnsupportedParameterError,
}


@pytest.mark.parametrize(
    "kind",
    sorted({*exceptions()} - ELSEWHERE, key=lambda kind: (kind.__module__, kind.__name__)),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_every_exception_of_the_client_becomes_a_typed_error(kind: type[Exception]) -> None:
    with pytest.raises(PipelineError), translated("Cloud Storage", CODES):
        raise kind.__new__(kind)


@pytest.mark.parametrize("kind", [*retry._RETRYABLE_TYPES, HTTPException], ids=lambda kind: kind.__name__)
def test_what_the_client_itself_would_try_again_may_be_tried_again(kind: type[Exception]) -> None:
    with pytest.raises(PipelineError) as refused, translated("Cloud Storage", CODES):
        raise kind.__new__(kind)
    assert refused.value.retryable and refused.value.code == "service.unavailable"
