"""One attempt against a real server that fails in all the ways servers do."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

import pytest

from gpu_jobs import attempt as attempts
from gpu_jobs import transfer
from gpu_jobs.attempt import OnProgress, Outcome, as_pipeline_error, run_attempt
from shared.errors import PipelineError
from shared.events import Metrics, StageCompleted, StageFailed, StageProgressed
from shared.media import MediaLimits
from shared.options import JobOptions
from shared.requests import REPORT, Output, ReportTarget, SignedRequest, StageRequest
from shared.transcript import NO_SPEECH, Recognition

MEDIA = bytes(range(256)) * 4096
RECOGNITION = Recognition(duration_s=2.0, model="test@1")
TOKEN = "for this attempt alone"


@dataclass
class Cloud:
    """What the server holds, what it was asked, and how it is to misbehave."""

    url: str = ""
    drops: list[int] = field(default_factory=list)
    """Bytes after which each of the next downloads breaks off."""
    ignores_ranges: bool = False
    changes_under_way: bool = False
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses with which the next requests of a method are answered."""
    ranges: list[str | None] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    reports: list[Any] = field(default_factory=list)
    uploads: list[dict[str, str]] = field(default_factory=list)
    answer_progress: int = 200

    @property
    def last_report(self) -> Any:
        return self.reports[-1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ordered(self) -> bool:
        """Answer with the next status that the test ordered, if any."""
        ordered = self.cloud.statuses.get(self.command, [])
        if ordered:
            self.answer(ordered.pop(0))
            return True
        return False

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.cloud.ranges.append(wanted)
        if self.ordered():
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        version = f'"{len(self.cloud.ranges) if self.cloud.changes_under_way else 1}"'
        if self.cloud.ignores_ranges or self.headers.get("If-Range", version) != version:
            first = 0
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(MEDIA) - 1}/{len(MEDIA)}")
        self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(MEDIA) - first))
        self.end_headers()
        last = first + self.cloud.drops.pop(0) if self.cloud.drops else len(MEDIA)
        self.wfile.write(MEDIA[first:last])
        self.close_connection = True

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.ordered():
            return
        self.cloud.uploads.append(dict(self.headers))
        if self.path in self.cloud.artifacts:
            self.answer(412)
            return
        self.cloud.artifacts[self.path] = body
        self.answer(200, x_goog_generation="17", x_goog_hash="crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==")

    def do_POST(self) -> None:
        report = REPORT.validate_json(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {TOKEN}" or self.ordered():
            return
        self.cloud.reports.append(report)
        self.answer(self.cloud.answer_progress if isinstance(report, StageProgressed) else 200)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    state = Cloud()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cloud": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(transfer, "LONGEST_WAIT_S", 0.02)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def request(cloud: Cloud, **changes: Any) -> StageRequest:
    upload = SignedRequest(
        method="PUT",
        url=f"{cloud.url}/words.json?signature=s",
        headers={"Content-Type": "application/json", "x-goog-if-generation-match": "0"},
    )
    values: dict[str, Any] = {
        "job_id": "job",
        "tenant_id": "tenant",
        "stage": "transcribe",
        "attempt": 2,
        "inputs": {"media": f"{cloud.url}/media?signature=s"},
        "outputs": (Output(filename="words.json", upload=upload),),
        "options": JobOptions(),
        "limits": MediaLimits(),
        "deadline": datetime.now(UTC) + timedelta(minutes=5),
        "report": ReportTarget(url=f"{cloud.url}/report", token=TOKEN),
    }
    return StageRequest(**{**values, **changes})


def work(media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
    assert media.read() == MEDIA
    on_progress(0.5, "half of it")
    return Outcome({"words.json": RECOGNITION}, Metrics(audio_s=2.0), (NO_SPEECH,))


def failing(error: Exception) -> Callable[..., Outcome]:
    def fail(*_: Any) -> Outcome:
        raise error

    return fail


def check_success(cloud: Cloud, answer: dict[str, Any]) -> None:
    """It was reported, and the answer is the report once more, as data that any format carries."""
    assert isinstance(cloud.last_report, StageCompleted)
    assert answer == {"ok": True, "report": json.loads(cloud.last_report.to_json())}


def test_an_attempt_stores_and_reports(cloud: Cloud) -> None:
    check_success(cloud, run_attempt(request(cloud), work))
    (content,) = cloud.artifacts.values()
    assert Recognition.from_json(content) == RECOGNITION
    assert cloud.uploads[0]["x-goog-if-generation-match"] == "0"
    report = cloud.last_report
    assert isinstance(report, StageCompleted)
    assert (report.stage, report.attempt, report.notices) == ("transcribe", 2, (NO_SPEECH,))
    (artifact,) = report.artifacts
    assert (artifact.kind, artifact.filename) == ("words", "words.json")
    assert artifact.object.generation == 17
    assert artifact.object.md5 == "Ojk9c3dhfxgoKVVHYwFbHQ=="
    assert artifact.object.size_bytes == len(content)


def test_a_broken_download_goes_on_where_it_stopped(cloud: Cloud) -> None:
    cloud.drops = [300_000, 0, 300_000]
    check_success(cloud, run_attempt(request(cloud), work))
    assert cloud.ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=600000-"]


def test_a_download_that_gets_on_may_break_often(cloud: Cloud) -> None:
    cloud.drops = [100_000] * 10
    check_success(cloud, run_attempt(request(cloud), work))


@pytest.mark.parametrize("reason", ["ignores_ranges", "changes_under_way"])
def test_a_download_starts_over_where_it_cannot_go_on(cloud: Cloud, reason: str) -> None:
    cloud.drops = [300_000]
    setattr(cloud, reason, True)
    check_success(cloud, run_attempt(request(cloud), work))


def test_busy_servers_are_asked_again(cloud: Cloud) -> None:
    cloud.statuses = {"GET": [503, 429], "PUT": [503, 500], "POST": [503]}
    check_success(cloud, run_attempt(request(cloud), work))
    assert isinstance(cloud.last_report, StageCompleted)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ({"GET": [503] * 20}, "service.unavailable"),
        ({"GET": [403]}, "service.unavailable"),
        ({"GET": [404]}, "object.not_found"),
        ({"PUT": [403]}, "service.unavailable"),
        ({"PUT": [413]}, "object.too_large"),
    ],
)
def test_a_server_that_refuses_fails_the_attempt(cloud: Cloud, statuses: dict[str, list[int]], code: str) -> None:
    cloud.statuses = statuses
    answer = run_attempt(request(cloud), work)
    assert answer["error"]["code"] == code
    assert isinstance(cloud.last_report, StageFailed)
    assert cloud.last_report.error.code == code


def test_an_artifact_that_is_there_is_left_and_counts(cloud: Cloud) -> None:
    cloud.artifacts["/words.json?signature=s"] = b"of an earlier attempt"
    check_success(cloud, run_attempt(request(cloud), work))
    assert cloud.artifacts["/words.json?signature=s"] == b"of an earlier attempt"
    assert cloud.last_report.artifacts[0].object.generation is None


def test_a_file_over_the_limit_is_not_read_to_its_end(cloud: Cloud) -> None:
    answer = run_attempt(request(cloud, limits=MediaLimits(max_size_bytes=1000)), work)
    assert answer["error"]["code"] == "media.too_large"


@pytest.mark.parametrize("status", [401, 404, 410])
def test_work_that_nobody_wants_stops_early(cloud: Cloud, status: int) -> None:
    cloud.answer_progress = status
    steps = 0

    def long_work(media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        nonlocal steps
        for steps in range(500):
            on_progress(steps / 500, None)
            time.sleep(0.01)
        raise AssertionError("nothing stopped the work")

    answer = run_attempt(request(cloud), long_work)
    # Not a failure: should someone wait for it after all, the attempt is repeated.
    assert (answer["ok"], answer["error"]["code"]) == (False, "stage.lost")
    assert steps < 400
    assert cloud.artifacts == {}
    assert all(isinstance(report, StageProgressed) for report in cloud.reports)


def test_progress_is_throttled_grows_and_waits_for_nothing(cloud: Cloud) -> None:
    def hasty_work(media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        started = time.perf_counter()
        for step in range(1200):
            on_progress(step / 1200 if step % 7 else 0.0, "words")
            time.sleep(0.001)
        assert time.perf_counter() - started < 4.0
        return work(media, request, on_progress)

    check_success(cloud, run_attempt(request(cloud), hasty_work))
    shares = [report.progress for report in cloud.reports if isinstance(report, StageProgressed)]
    assert shares == sorted(shares)
    assert 2 <= len(shares) <= 5


def test_lost_progress_reports_harm_nothing(cloud: Cloud) -> None:
    cloud.answer_progress = 500
    check_success(cloud, run_attempt(request(cloud), work))
    assert isinstance(cloud.last_report, StageCompleted)


def test_a_deadline_that_passed_stops_the_work(cloud: Cloud) -> None:
    def slow_work(media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        for _ in range(500):
            on_progress(0.5, None)
            time.sleep(0.01)
        raise AssertionError("nothing stopped the work")

    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    answer = run_attempt(request(cloud, deadline=soon), slow_work)
    assert answer["error"] == PipelineError("stage.timeout").info.model_dump()
    assert cloud.last_report.error.code == "stage.timeout"


class OutOfMemoryError(RuntimeError):
    """Like torch's."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError("media.corrupt"), "media.corrupt"),
        (MemoryError(), "gpu.out_of_memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "gpu.out_of_memory"),
        (RuntimeError("CUDA failed with error out of memory"), "gpu.out_of_memory"),
        (RuntimeError("no such operator"), "internal"),
        (OSError(2, "No such file", "/home/someone/secret"), "internal"),
    ],
)
def test_every_failure_is_typed_and_tells_no_secret(cloud: Cloud, error: Exception, code: str) -> None:
    answer = run_attempt(request(cloud), failing(error))
    assert answer["error"]["code"] == code
    text = json.dumps(answer) + cloud.last_report.to_json()
    assert "Traceback" not in text
    assert "secret" not in text


def test_an_error_that_is_typed_stays_itself() -> None:
    error = PipelineError("model.unavailable", "not here")
    assert as_pipeline_error(error) is error


def test_a_result_that_cannot_be_reported_is_told_to_the_runner(cloud: Cloud) -> None:
    cloud.statuses = {"POST": [503] * 50}
    answer = run_attempt(request(cloud), work)
    assert cloud.reports == []
    assert answer["ok"] is True
    report = StageCompleted.from_data(answer["report"])
    assert (report.stage, report.attempt, report.notices) == ("transcribe", 2, (NO_SPEECH,))
    assert [artifact.filename for artifact in report.artifacts] == ["words.json"]
    assert list(cloud.artifacts) == ["/words.json?signature=s"]


def test_a_failure_that_cannot_be_reported_keeps_its_code(cloud: Cloud) -> None:
    cloud.statuses = {"POST": [503] * 50}
    answer = run_attempt(request(cloud), failing(PipelineError("media.corrupt", "It is torn.")))
    assert answer == {"ok": False, "error": PipelineError("media.corrupt", "It is torn.").info.model_dump()}


def test_nothing_of_the_recording_stays_on_disk(cloud: Cloud, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.tempfile, "tempdir", str(tmp_path))

    def looking_work(media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        assert list(tmp_path.iterdir()) == []
        return work(media, request, on_progress)

    check_success(cloud, run_attempt(request(cloud), looking_work))
