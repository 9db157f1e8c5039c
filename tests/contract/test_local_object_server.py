"""What the local object server promises beyond every object store: its answers, its files, broken connections."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from infra.clock import SystemClock
from infra.local.cloud import LocalCloud
from shared.errors import PipelineError
from shared.media import ObjectRef
from shared.requests import SignedRequest
from tests.clouds import standin_cloud, wait_for

REF = ObjectRef(bucket="earwitness-results", name="t/job/ünï 片 & ? # %41.json")
MIB = 1 << 20


class MovableClock(SystemClock):
    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    clock = MovableClock()
    monkeypatch.setattr("infra.local.cloud.SystemClock", lambda: clock)
    return clock


@pytest.fixture
def cloud(tmp_path: Path, clock: MovableClock) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


def upload(
    cloud: LocalCloud, ref: ObjectRef = REF, *, resumable: bool = False, max_bytes: int = 8 * MIB
) -> SignedRequest:
    return cloud.objects.sign_upload(
        ref, content_type="audio/wav", max_bytes=max_bytes, expires_s=60.0, resumable=resumable
    )


def send(request: SignedRequest, content: bytes = b"", **changed: str) -> httpx.Response:
    headers = {**request.headers, **changed}
    return httpx.request(request.method, request.url, headers=headers, content=content, trust_env=False)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text.partition("<Code>")[2].partition("</Code>")[0]


def test_an_object_is_never_overwritten(cloud: LocalCloud) -> None:
    cloud.objects.write(REF, b"first", content_type="")
    with pytest.raises(PipelineError) as refused:
        cloud.objects.write(REF, b"second", content_type="")
    assert refused.value.code == "object.exists"
    assert code(send(upload(cloud), b"third")) == (412, "PreconditionFailed")
    assert code(send(upload(cloud, resumable=True))) == (412, "PreconditionFailed")
    assert cloud.objects.read(REF) == b"first"


def test_a_signed_put_creates_the_object_with_its_type(cloud: LocalCloud) -> None:
    answer = send(upload(cloud), b"RIFF")
    info = cloud.objects.stat(REF)
    assert (answer.status_code, info.content_type, info.size_bytes) == (200, "audio/wav", 4)
    assert answer.headers["x-goog-generation"] == str(info.generation)
    assert answer.headers["x-goog-hash"] == f"md5={info.md5}"


def test_a_signed_get_reads_all_or_a_range(cloud: LocalCloud) -> None:
    cloud.objects.write(REF, bytes(range(100)), content_type="audio/wav")
    url = cloud.objects.sign_download(REF, expires_s=60)
    assert httpx.get(url).content == bytes(range(100))
    part = httpx.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206,
        bytes(range(10, 20)),
        "bytes 10-19/100",
    )
    assert httpx.head(url).headers["content-length"] == "100"


@pytest.mark.parametrize("what", ["method", "path", "signature", "header", "missing header", "expiry", "no signature"])
def test_what_was_not_signed_is_refused(cloud: LocalCloud, clock: MovableClock, what: str) -> None:
    signed = upload(cloud)
    if what == "method":
        answer = httpx.get(signed.url)
    elif what == "path":
        answer = send(signed.model_copy(update={"url": signed.url.replace("/job/", "/other/")}), b"x")
    elif what == "signature":
        last = "0" if signed.url[-1] != "0" else "1"
        answer = send(signed.model_copy(update={"url": signed.url[:-1] + last}), b"x")
    elif what == "header":
        answer = send(signed, b"x", **{"x-goog-content-length-range": "0,999999999"})
    elif what == "missing header":
        answer = httpx.put(signed.url, content=b"x")
    elif what == "expiry":
        clock.ahead = timedelta(seconds=61)
        answer = send(signed, b"x")
    else:
        answer = httpx.put(signed.url.split("?")[0], content=b"x", headers=signed.headers)
    assert code(answer) == (403, "AccessDenied")
    assert cloud.objects.names(REF.bucket) == []


def test_a_put_over_its_limit_is_refused_and_leaves_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    signed = upload(cloud, max_bytes=1000)
    assert code(send(signed, b"x" * 1001)) == (400, "EntityTooLarge")

    def unannounced() -> Iterator[bytes]:
        yield from (b"x" * 600, b"x" * 600)

    answer = httpx.put(signed.url, headers=signed.headers, content=unannounced())
    assert code(answer) == (400, "EntityTooLarge")
    assert list((tmp_path / "cloud" / "objects").iterdir()) == []
    assert send(signed, b"x" * 1000).status_code == 200


def start(cloud: LocalCloud, ref: ObjectRef = REF, **options: int) -> str:
    answer = send(upload(cloud, ref, resumable=True, **options))
    assert answer.status_code == 201
    return answer.headers["location"]


def put(session: str, content: bytes, content_range: str) -> httpx.Response:
    return httpx.put(session, content=content, headers={"content-range": content_range})


def test_a_resumable_upload_in_pieces(cloud: LocalCloud) -> None:
    session, content = start(cloud), bytes(range(256)) * 4096
    total = len(content)
    assert put(session, b"", f"bytes */{total}").headers.get("range") is None
    first = put(session, content[: total // 4], f"bytes 0-{total // 4 - 1}/*")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{total // 4 - 1}")
    second = put(session, content[total // 4 : total // 2], f"bytes {total // 4}-{total // 2 - 1}/{total}")
    assert (second.status_code, second.headers["range"]) == (308, f"bytes=0-{total // 2 - 1}")
    last = put(session, content[total // 2 :], f"bytes {total // 2}-{total - 1}/{total}")
    assert last.status_code == 200
    assert cloud.objects.read(REF) == content
    assert cloud.objects.stat(REF).content_type == "audio/wav"


def test_a_piece_that_overlaps_is_stored_once(cloud: LocalCloud) -> None:
    session = start(cloud)
    put(session, b"abcdef", "bytes 0-5/10")
    assert put(session, b"defghij", "bytes 3-9/10").status_code == 200
    assert cloud.objects.read(REF) == b"abcdefghij"


def test_a_dropped_connection_loses_nothing_that_arrived(cloud: LocalCloud) -> None:
    session, content = start(cloud), bytes(range(256)) * 4096
    parts = urlsplit(session)
    head = f"PUT {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + content[:300_000])
    have = wait_for(lambda: received(session, len(content)) == 300_000 and 300_000)
    answer = put(session, content[have:], f"bytes {have}-{len(content) - 1}/{len(content)}")
    assert answer.status_code == 200
    assert cloud.objects.read(REF) == content


def received(session: str, total: int) -> int:
    answer = put(session, b"", f"bytes */{total}")
    assert answer.status_code == 308
    return int(answer.headers.get("range", "bytes=0--1").split("-", 1)[1]) + 1


def test_a_finished_session_says_so_again(cloud: LocalCloud) -> None:
    session = start(cloud)
    assert httpx.put(session, content=b"all at once").status_code == 200
    again = put(session, b"", "bytes */11")
    assert (again.status_code, again.headers["x-goog-generation"]) == (200, str(cloud.objects.stat(REF).generation))


def test_a_session_refuses_what_breaks_the_protocol(cloud: LocalCloud, tmp_path: Path) -> None:
    session = start(cloud, max_bytes=1000)
    assert code(put(session, b"x", "bytes nonsense")) == (400, "InvalidArgument")
    assert code(put(session, b"x", "bytes 5-5/10")) == (400, "InvalidArgument")
    assert code(put(session, b"x" * 1001, "bytes 0-1000/1001")) == (400, "EntityTooLarge")
    assert code(httpx.put(session[:-1] + "_", content=b"x")) == (404, "NoSuchKey")
    assert httpx.delete(session).status_code == 499
    assert code(put(session, b"", "bytes */10")) == (404, "NoSuchKey")
    assert list((tmp_path / "cloud" / "objects").iterdir()) == []


def test_of_two_sessions_for_one_object_the_first_to_finish_wins(cloud: LocalCloud) -> None:
    first, second = start(cloud), start(cloud)
    assert httpx.put(second, content=b"second").status_code == 200
    assert code(httpx.put(first, content=b"first")) == (412, "PreconditionFailed")
    assert cloud.objects.read(REF) == b"second"


def test_a_session_and_its_bytes_survive_a_restart(tmp_path: Path) -> None:
    with standin_cloud(tmp_path) as cloud:
        session = start(cloud)
        assert put(session, b"abcde", "bytes 0-4/10").status_code == 308
    with standin_cloud(tmp_path) as cloud:
        moved = cloud.url + urlsplit(session).path
        assert received(moved, 10) == 5
        assert put(moved, b"fghij", "bytes 5-9/10").status_code == 200
        assert cloud.objects.read(REF) == b"abcdefghij"


def test_names_never_become_paths(cloud: LocalCloud, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "objects" not in path.parts}
    for name in ("../../escaped", "/etc/passwd", "a/../../b", "nul\x00", "." * 300, "..", "con"):
        ref = ObjectRef(bucket="earwitness-results", name=name)
        cloud.objects.write(ref, name.encode(), content_type="")
        assert cloud.objects.read(ref) == name.encode()
    after = {path for path in tmp_path.rglob("*") if "objects" not in path.parts}
    assert after == before


def test_files_that_a_crash_left_are_removed_at_the_next_start(tmp_path: Path) -> None:
    with standin_cloud(tmp_path) as cloud:
        cloud.objects.write(REF, b"kept", content_type="")
        cloud.objects.new_file().write_bytes(b"half of an upload")
    with standin_cloud(tmp_path) as cloud:
        assert cloud.objects.read(REF) == b"kept"
        assert len(list((tmp_path / "cloud" / "objects").iterdir())) == 1


def test_a_browser_may_upload_from_any_page(cloud: LocalCloud) -> None:
    signed = upload(cloud)
    preflight = httpx.options(
        signed.url,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "content-type,x-goog-content-length-range,x-goog-if-generation-match",
        },
    )
    assert preflight.status_code == 200
    answer = send(signed, b"x", origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_put_whose_connection_drops_leaves_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    signed = upload(cloud)
    parts = urlsplit(signed.url)
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nhost: {parts.netloc}\r\n{fields}content-length: 1000000\r\n\r\n"
    files = tmp_path / "cloud" / "objects"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + b"x" * 300_000)
        wait_for(lambda: len(list(files.iterdir())) == 1)
    wait_for(lambda: list(files.iterdir()) == [])
    assert send(signed, b"again").status_code == 200


@contextmanager
def disk_gone(folder: Path) -> Iterator[None]:
    """While this lasts no file can be made or opened where objects lie."""
    files, away = folder / "cloud" / "objects", folder / "away"
    files.rename(away)
    files.touch()
    try:
        yield
    finally:
        files.unlink()
        away.rename(files)


def test_a_disk_that_takes_nothing_is_told_as_unavailable_and_loses_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    signed, session, other = upload(cloud), start(cloud), REF.model_copy(update={"name": "t/other"})
    cloud.objects.write(other, b"kept", content_type="")
    calls: list[Callable[[], object]] = [
        lambda: cloud.objects.read(other),
        lambda: cloud.objects.write(REF, b"x", content_type=""),
    ]
    with disk_gone(tmp_path):
        assert code(send(signed, b"x")) == (503, "service.unavailable")
        assert code(put(session, b"x" * 9, "bytes 0-8/9")) == (503, "service.unavailable")
        for call in calls:
            with pytest.raises(PipelineError) as refused:
                call()
            assert refused.value.code == "service.unavailable"
            assert str(tmp_path) not in refused.value.message
    assert cloud.objects.read(other) == b"kept"
    assert put(session, b"x" * 9, "bytes 0-8/9").status_code == 200
    assert code(send(signed, b"x"))[0] == 412


def test_what_arrived_of_an_upload_that_was_never_finished_goes_when_its_time_is_over(
    cloud: LocalCloud, clock: MovableClock, tmp_path: Path
) -> None:
    finished, files = REF.model_copy(update={"name": "finished"}), tmp_path / "cloud" / "objects"
    put(start(cloud, finished), b"done", "bytes 0-3/4")
    put(start(cloud), b"x" * 9, "bytes 0-8/100")
    assert len(list(files.iterdir())) == 2
    clock.ahead = timedelta(hours=1)
    start(cloud)
    assert len(list(files.iterdir())) == 2  # of the new session, which has nothing yet, and of the finished object
    assert cloud.objects.read(finished) == b"done"
    assert [path.stat().st_size for path in sorted(files.iterdir(), key=lambda path: path.stat().st_size)] == [0, 4]


def test_an_upload_whose_session_ends_while_it_is_stored_becomes_no_object(cloud: LocalCloud) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=1)
    session = cloud.objects.open_session(REF, content_type="", max_bytes=9, expires_at=ends)
    cloud.objects.cancel_session(session)
    session.path.write_bytes(b"x")
    with pytest.raises(PipelineError) as refused:
        cloud.objects.commit(REF, session.path, content_type="", session=session)
    assert refused.value.code == "object.not_found"
    with pytest.raises(PipelineError):
        cloud.objects.stat(REF)


def test_a_body_of_unknown_length_is_the_whole_object(cloud: LocalCloud) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"all ", b"of it")

    assert httpx.put(start(cloud), content=pieces()).status_code == 200
    assert cloud.objects.read(REF) == b"all of it"


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9/100", "bytes 9-0/100", "bytes 0-100/100", "bytes */" + "9" * 5000]
)
def test_a_range_that_does_not_hold_is_refused_and_the_session_goes_on(cloud: LocalCloud, content_range: str) -> None:
    session = start(cloud)
    assert put(session, b"x" * 50, content_range).status_code == 400
    assert received(session, 100) == 0
    assert put(session, b"y" * 100, "bytes 0-99/100").status_code == 200
    assert cloud.objects.read(REF) == b"y" * 100


def test_a_stalled_connection_gives_way_to_the_client_that_came_back(cloud: LocalCloud) -> None:
    session, content = start(cloud), b"z" * 200_000
    parts = urlsplit(session)
    head = f"PUT {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as stalled:
        stalled.sendall(head.encode() + content[:100_000])
        have = wait_for(lambda: received(session, len(content)))
        assert 0 < have <= 100_000
        answer = put(session, content[have:], f"bytes {have}-{len(content) - 1}/{len(content)}")
    assert answer.status_code == 200
    assert cloud.objects.read(REF) == content


def test_the_session_that_came_second_leaves_no_file(cloud: LocalCloud, tmp_path: Path) -> None:
    first, second = start(cloud), start(cloud)
    httpx.put(second, content=b"second")
    assert httpx.put(first, content=b"first").status_code == 412
    assert len(list((tmp_path / "cloud" / "objects").iterdir())) == 1
