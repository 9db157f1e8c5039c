"""Parts of the local cloud under conditions that a whole run seldom meets."""

import gc
import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from infra.local.cloud import LocalCloud
from infra.local.database import Database
from infra.local.runner import LocalRunner
from infra.settings import Settings
from shared.errors import PipelineError
from shared.media import MediaLimits
from shared.options import JobOptions
from shared.ports import CallState
from shared.requests import ReportTarget, StageRequest
from tests.clouds import STANDIN, Phone, standin_cloud, wait_for
from tests.media import encode, tone

ECHO = """
import sys
print('{"ready": true}', flush=True)
for _ in sys.stdin:
    print('{"ok": true}', flush=True)
"""


def request(number: int) -> StageRequest:
    return StageRequest(
        job_id=f"job_{number}",
        tenant_id="t",
        stage="transcribe",
        attempt=1,
        inputs={},
        outputs=(),
        options=JobOptions(),
        limits=MediaLimits(),
        deadline=datetime.now(UTC) + timedelta(hours=1),
        report=ReportTarget(url="http://127.0.0.1:9/", token="x"),
    )


def test_a_runner_forgets_no_call_that_waits(tmp_path: Path) -> None:
    """A worker that answers at once, and more calls than are remembered once over."""
    echo = tmp_path / "echo.py"
    echo.write_text(ECHO)
    runner = LocalRunner(tmp_path, tmp_path / "logs", worker=(STANDIN[0], str(echo)))
    try:
        calls = [runner.start(request(number)) for number in range(1500)]
        wait_for(lambda: runner.poll(calls[-1]).state is CallState.SUCCEEDED, timeout_s=60)
        states = {runner.poll(call).state for call in calls}
        assert states == {CallState.SUCCEEDED, CallState.LOST}  # the oldest are forgotten once they are over
    finally:
        runner.close()


def test_connections_of_threads_that_ended_are_closed(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite")
    for _ in range(20):
        thread = threading.Thread(target=lambda: database.query("SELECT 1"))
        thread.start()
        thread.join()
    gc.collect()
    assert len(database._connections) <= 2
    database.close()


def test_a_database_that_is_none_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(PipelineError) as refused:
        Database(tmp_path / "state.sqlite")
    assert refused.value.code == "service.unavailable"


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError) as refused:
        LocalCloud(Settings(data_dir=tmp_path / "file" / "below"))
    assert refused.value.code == "service.unavailable"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


def test_deliveries_go_on_after_the_queue_could_not_be_read(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fails() -> None:
        failed.set()
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(cloud.queue, "next_due_s", fails)
        cloud.queue.arrived.set()
        assert failed.wait(10)
    phone = Phone(cloud.url, cloud.owner_token)
    assert phone.wait(phone.send(encode("wav", tone(1.0))))["state"] == "completed"


@pytest.mark.parametrize("path", ["/functions/on_report/job_x", "/v1/jobs"])
def test_a_body_that_goes_on_for_too_long_is_refused_and_not_kept(cloud: LocalCloud, path: str) -> None:
    """The server runs in this process, so its memory is this one's."""
    pieces = (b"x" * 100_000 for _ in range(1000))
    before = psutil.Process().memory_info().rss
    answer = Phone(cloud.url, cloud.owner_token).client.post(
        path, content=pieces, headers={"authorization": "Bearer x"}
    )
    assert answer.status_code == 413
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_numbers_beyond_all_measure_are_refused(cloud: LocalCloud) -> None:
    body = '{"size_bytes": 1' + "0" * 400 + "}"
    answer = Phone(cloud.url, cloud.owner_token).client.post(
        "/v1/jobs", content=body, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, json.loads(answer.text)["code"]) == (400, "request.invalid")


def test_secrets_and_recordings_are_for_their_owner_alone(cloud: LocalCloud, tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("key", "state.sqlite", "objects")}
    assert modes == {"key": 0o600, "state.sqlite": 0o600, "objects": 0o700}
