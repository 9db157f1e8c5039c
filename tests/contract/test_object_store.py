"""What every object store promises: once-only writes, signed URLs, and the resumable protocol.

``local`` is the local cloud's object server, ``google`` fake-gcs-server, ``google-live`` a real project, named by
``EARWITNESS_TEST_PROJECT``; buckets made there are deleted again. What fake-gcs-server cannot show of a signed request
is checked in ``tests/unit/test_gcp_signing.py``: method, URL, headers and signature, as the service would check them.
"""

import base64
import hashlib
import os
import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud.storage import Client

from infra.gcp.object_store import connect
from shared.errors import PipelineError
from shared.media import ObjectRef
from shared.ports import ObjectStore
from shared.requests import SignedRequest
from tests.clouds import standin_cloud, wait_for

KIB, MIB = 1 << 10, 1 << 20
NAME = "t/job/ünï 片 & ? # %41.json"
_UNCHECKED = "fake-gcs-server 1.54 checks no signature, expiry or signed header"
_OVERWRITES = "fake-gcs-server 1.54 heeds preconditions in multipart uploads by its JSON API alone"
_RESUMABLE = "fake-gcs-server 1.54 opens no session from a signed POST: it makes an object without a name"

# What a backend is known to do wrong: the test must fail there, and for no other reason.
DEFECTS = {
    ("google", "test_a_large_write_overwrites_nothing"): _OVERWRITES,
    ("google", "test_a_signed_put_overwrites_nothing"): _OVERWRITES,
    ("google", "test_a_signed_put_over_its_limit_is_refused_and_leaves_nothing"): _UNCHECKED,
    ("google", "test_what_was_not_signed_is_refused"): _UNCHECKED,
    ("google", "test_a_url_that_has_expired_is_refused"): _UNCHECKED,
    ("google", "test_a_resumable_upload_in_one_piece"): _RESUMABLE,
    ("google", "test_a_resumable_upload_in_pieces_says_how_far_it_is"): _RESUMABLE,
    ("google", "test_a_resumable_upload_overwrites_nothing"): _RESUMABLE,
    ("google", "test_a_resumable_upload_over_its_limit_is_refused"): _RESUMABLE,
    (
        "google",
        "test_deleting_a_generation_leaves_a_later_one",
    ): "fake-gcs-server 1.54 deletes whatever generation it has",
    ("google", "test_a_name_may_have_a_thousand_bytes"): "fake-gcs-server 1.54 keeps objects in files of their names",
}


@dataclass(frozen=True)
class Store:
    """A store, and a bucket in it that is empty."""

    objects: ObjectStore
    bucket: str

    def ref(self, name: str = NAME) -> ObjectRef:
        return ObjectRef(bucket=self.bucket, name=name)

    def upload(self, name: str = NAME, *, max_bytes: int = 8 * MIB, **options: Any) -> SignedRequest:
        options = {"expires_s": 60.0, **options}
        return self.objects.sign_upload(self.ref(name), content_type="audio/wav", max_bytes=max_bytes, **options)

    def start(self, **options: Any) -> str:
        """The URL of a resumable session."""
        answer = send(self.upload(resumable=True, **options))
        assert answer.status_code == 201
        return answer.headers["location"]

    def content(self, name: str = NAME) -> bytes | None:
        try:
            return self.objects.read(self.ref(name))
        except PipelineError as error:
            assert error.code == "object.not_found"
            return None


@contextmanager
def local(request: pytest.FixtureRequest) -> Iterator[Store]:
    tmp_path: Path = request.getfixturevalue("tmp_path")
    with standin_cloud(tmp_path) as cloud:
        yield Store(cloud.objects, "earwitness-results")


@contextmanager
def google(request: pytest.FixtureRequest) -> Iterator[Store]:
    request.getfixturevalue("monkeypatch").setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("gcs").url)
    with bucket("test-project") as store:
        yield store


@contextmanager
def google_live(request: pytest.FixtureRequest) -> Iterator[Store]:
    project = os.environ.get("EARWITNESS_TEST_PROJECT")
    if not project:
        pytest.skip("EARWITNESS_TEST_PROJECT names no real project")
    request.getfixturevalue("monkeypatch").delenv("STORAGE_EMULATOR_HOST", raising=False)
    with bucket(project) as store:
        yield store


@contextmanager
def bucket(project: str) -> Iterator[Store]:
    made = Client(project=project).create_bucket(f"{project}-{secrets.token_hex(6)}")
    try:
        yield Store(connect(project), made.name)
    finally:
        made.delete(force=True)


@pytest.fixture(params=[("local", local), ("google", google), ("google-live", google_live)], ids=lambda param: param[0])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    name, backend = request.param
    if reason := DEFECTS.get((name, request.node.originalname)):
        request.applymarker(
            pytest.mark.xfail(reason=reason, strict=True, raises=(AssertionError, PipelineError, pytest.fail.Exception))
        )
    with backend(request) as store:
        yield store


def send(request: SignedRequest, content: bytes | Iterator[bytes] = b"", **changed: str) -> httpx.Response:
    headers = {**request.headers, **changed}
    return httpx.request(request.method, request.url, headers=headers, content=content, timeout=60.0, trust_env=False)


def put(session: str, content: bytes, content_range: str) -> httpx.Response:
    return httpx.put(session, content=content, headers={"content-range": content_range}, trust_env=False)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=60.0, trust_env=False)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(PipelineError) as refused:
        call()
    return refused.value.code


def test_what_is_written_is_read_and_described(store: Store) -> None:
    info = store.objects.write(store.ref(), b"content", content_type="text/plain")
    assert store.objects.read(store.ref()) == store.objects.read(info) == b"content"
    assert store.objects.stat(store.ref()) == store.objects.stat(info) == info
    assert (info.bucket, info.name, info.size_bytes) == (store.bucket, NAME, 7)
    assert (info.content_type, info.md5) == ("text/plain", "mgNkuembtIDdJeHwKEyFVQ==")


@pytest.mark.parametrize("size", [0, 1, 9 * MIB])
def test_an_object_may_have_any_size(store: Store, size: int) -> None:
    content = secrets.token_bytes(size)
    info = store.objects.write(store.ref(), content, content_type="application/octet-stream")
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    assert (info.size_bytes, info.md5) == (size, md5)
    assert store.objects.read(info) == content


def test_a_write_overwrites_nothing(store: Store) -> None:
    store.objects.write(store.ref(), b"first", content_type="text/plain")
    for content in (b"second", b"first"):
        again = lambda: store.objects.write(store.ref(), content, content_type="text/plain")  # noqa: B023, E731
        assert refusal(again) == "object.exists"
    assert store.content() == b"first"


def test_a_large_write_overwrites_nothing(store: Store) -> None:
    store.objects.write(store.ref(), b"first", content_type="text/plain")
    large = bytes(9 * MIB)
    assert refusal(lambda: store.objects.write(store.ref(), large, content_type="text/plain")) == "object.exists"
    assert store.content() == b"first"


def test_of_two_writes_at_once_one_is_done(store: Store) -> None:
    def write(number: int) -> int | None:
        try:
            store.objects.write(store.ref(), b"%d" % number, content_type="text/plain")
        except PipelineError as error:
            assert error.code == "object.exists"
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        (winner,) = [number for number in pool.map(write, range(8)) if number is not None]
    assert store.content() == b"%d" % winner


def test_missing_objects_and_generations_are_not_found(store: Store) -> None:
    info = store.objects.write(store.ref(), b"x", content_type="text/plain")
    store.objects.delete(info)
    again = store.objects.write(store.ref(), b"y", content_type="text/plain")
    assert again.generation != info.generation
    for call in (store.objects.stat, store.objects.read):
        for ref in (info, store.ref("none")):
            assert refusal(lambda: call(ref)) == "object.not_found"  # noqa: B023


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    info = store.objects.write(store.ref(), b"x", content_type="text/plain")
    store.objects.delete(store.ref())
    store.objects.delete(store.ref())
    store.objects.delete(info)
    assert store.content() is None


def test_deleting_a_generation_leaves_a_later_one(store: Store) -> None:
    info = store.objects.write(store.ref(), b"x", content_type="text/plain")
    store.objects.delete(info)
    store.objects.write(store.ref(), b"y", content_type="text/plain")
    store.objects.delete(info)
    assert store.content() == b"y"


def test_a_signed_put_creates_the_object_with_its_type(store: Store) -> None:
    assert send(store.upload(), b"RIFF").status_code == 200
    info = store.objects.stat(store.ref())
    assert (info.content_type, info.size_bytes, info.md5) == ("audio/wav", 4, "ICEl/+wjTJQcXhNsdjZ7lQ==")


def test_a_signed_put_overwrites_nothing(store: Store) -> None:
    signed = store.upload()
    assert send(signed, b"first").status_code == 200
    assert send(signed, b"second").status_code == 412
    assert store.content() == b"first"


def test_a_signed_put_over_its_limit_is_refused_and_leaves_nothing(store: Store) -> None:
    signed = store.upload(max_bytes=1000)
    assert send(signed, b"x" * 1001).status_code == 400
    assert store.content() is None
    assert send(signed, b"x" * 1000).status_code == 200


def test_a_signed_get_reads_all_or_a_range(store: Store) -> None:
    content = bytes(range(100))
    store.objects.write(store.ref(), content, content_type="audio/wav")
    url = store.objects.sign_download(store.ref(), expires_s=60)
    whole = get(url)
    assert (whole.content, whole.headers["content-type"]) == (content, "audio/wav")
    for asked, given in (("10-19", "10-19"), ("90-", "90-99"), ("-5", "95-99"), ("98-200", "98-99")):
        part = get(url, range=f"bytes={asked}")
        first, _, last = given.partition("-")
        assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {given}/100")
        assert part.content == content[int(first) : int(last) + 1]
    assert get(url, range="bytes=100-").status_code == 416
    assert httpx.head(url, trust_env=False).headers["content-length"] == "100"


def test_a_signed_get_of_what_is_not_there_is_not_found(store: Store) -> None:
    assert get(store.objects.sign_download(store.ref(), expires_s=60)).status_code == 404


def test_a_signed_get_of_a_generation_reads_no_later_one(store: Store) -> None:
    info = store.objects.write(store.ref(), b"x", content_type="text/plain")
    url = store.objects.sign_download(info, expires_s=60)
    assert get(url).content == b"x"
    store.objects.delete(info)
    store.objects.write(store.ref(), b"y", content_type="text/plain")
    assert get(url).status_code == 404


@pytest.mark.parametrize("what", ["method", "path", "signature", "header", "missing header", "no signature"])
def test_what_was_not_signed_is_refused(store: Store, what: str) -> None:
    signed = store.upload("t/job/media")
    last = "0" if signed.url[-1] != "0" else "1"
    changed = {
        "path": signed.url.replace("/job/", "/other/"),
        "signature": signed.url[:-1] + last,
        "no signature": signed.url.split("?")[0],
    }
    request = SignedRequest(
        method="POST" if what == "method" else "PUT",
        url=changed.get(what, signed.url),
        headers={} if what == "missing header" else signed.headers,
    )
    altered = {"x-goog-content-length-range": "0,999999999"} if what == "header" else {}
    assert send(request, b"x", **altered).status_code in (401, 403)
    assert store.content("t/job/media") is None


def test_a_url_that_has_expired_is_refused(store: Store) -> None:
    store.objects.write(store.ref(), b"x", content_type="text/plain")
    url = store.objects.sign_download(store.ref(), expires_s=1.0)
    wait_for(lambda: get(url).status_code in (400, 403), timeout_s=3.0, every_s=0.2)


@pytest.mark.parametrize(
    "name",
    [
        "a//b",
        ".hidden",
        " lead and trail ",
        "+plus+",
        "100%",
        "%2F%00",
        "back\\slash",
        "~tilde",
        "semi;colon,=@!$'()*[]|^`{}\"<>",
        "tab\t",
        "e\u0301 \u00e9",
        "🎙️",
    ],
)
def test_names_of_any_kind_are_signed_and_work(store: Store, name: str) -> None:
    name = f"t/job/{name}"
    assert send(store.upload(name), name.encode()).status_code == 200
    info = store.objects.stat(store.ref(name))
    assert info.name == name
    assert store.objects.read(info) == name.encode()
    assert get(store.objects.sign_download(store.ref(name), expires_s=60)).content == name.encode()
    assert store.content(f"{name}.") is None


def test_a_name_may_have_a_thousand_bytes(store: Store) -> None:
    name = "é" * 500
    store.objects.write(store.ref(name), b"x", content_type="text/plain")
    assert store.content(name) == b"x"


def test_a_large_upload_is_streamed(store: Store) -> None:
    blocks, size = [bytes([number]) * MIB for number in range(4)], 64 * MIB
    digest = hashlib.md5()

    def stream() -> Iterator[bytes]:
        for number in range(64):
            digest.update(blocks[number % 4])
            yield blocks[number % 4]

    tracemalloc.start()
    answer = send(store.upload(max_bytes=size), stream(), **{"content-length": str(size)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    info = store.objects.stat(store.ref())
    assert answer.status_code == 200
    assert (info.size_bytes, info.md5) == (size, base64.b64encode(digest.digest()).decode())
    assert peak < 16 * MIB
    end = get(store.objects.sign_download(info, expires_s=60), range=f"bytes={size - MIB - 1}-")
    assert end.content == b"\x02" + blocks[3]


def test_a_resumable_upload_in_one_piece(store: Store) -> None:
    answer = httpx.put(store.start(), content=b"all at once", trust_env=False)
    assert answer.status_code in (200, 201)
    assert (store.content(), store.objects.stat(store.ref()).content_type) == (b"all at once", "audio/wav")


def test_a_resumable_upload_in_pieces_says_how_far_it_is(store: Store) -> None:
    session, content = store.start(), bytes(range(256)) * 4 * KIB
    total, half = len(content), len(content) // 2
    nothing = put(session, b"", f"bytes */{total}")
    assert (nothing.status_code, nothing.headers.get("range")) == (308, None)
    first = put(session, content[:half], f"bytes 0-{half - 1}/*")
    status = put(session, b"", f"bytes */{total}")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{half - 1}")
    assert (status.status_code, status.headers["range"]) == (308, f"bytes=0-{half - 1}")
    assert store.content() is None
    assert put(session, content[half:], f"bytes {half}-{total - 1}/{total}").status_code in (200, 201)
    assert put(session, b"", f"bytes */{total}").status_code in (200, 201)
    assert store.content() == content


def test_a_resumable_upload_overwrites_nothing(store: Store) -> None:
    session = store.start()
    store.objects.write(store.ref(), b"first", content_type="text/plain")
    assert httpx.put(session, content=b"second", trust_env=False).status_code == 412
    late = send(store.upload(resumable=True))
    if late.status_code == 201:  # the service may look when the session begins, or when it ends
        late = httpx.put(late.headers["location"], content=b"third", trust_env=False)
    assert late.status_code == 412
    assert store.content() == b"first"


def test_a_resumable_upload_over_its_limit_is_refused(store: Store) -> None:
    session = store.start(max_bytes=1000)
    assert httpx.put(session, content=b"x" * 1001, trust_env=False).status_code == 400
    assert store.content() is None
