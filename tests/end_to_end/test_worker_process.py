"""The worker process and its protocol, with the real class and a real model."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.events import StageCompleted
from shared.options import JobOptions
from shared.transcript import Recognition
from tests.clouds import wait_for
from tests.model_files import pulled
from tests.recordings import dialogue
from tests.unit import test_attempt as loopback
from tests.unit.test_attempt import Cloud, cloud  # noqa: F401 - the fixture

pytestmark = [pytest.mark.models, pytest.mark.slow]
ALIAS = "tiny.en"


@pytest.fixture
def worker(models_dir: Path) -> Iterator[subprocess.Popen[str]]:
    pulled(ALIAS, models_dir)
    process = subprocess.Popen(
        [sys.executable, "-m", "gpu_jobs.worker", "transcribe", "--warm", ALIAS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "EARWITNESS_MODELS_DIR": str(models_dir)},
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def read(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    return json.loads(worker.stdout.readline())


def send(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


def test_one_process_runs_one_request_after_another(
    worker: subprocess.Popen[str],
    cloud: Cloud,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(worker) == {"ready": True}
    send(worker, "this is no request")
    assert read(worker)["error"]["code"] == "request.invalid"

    request = loopback.request(cloud, options=JobOptions(model=ALIAS))
    send(worker, request.to_json())
    assert read(worker)["error"]["code"] == "media.corrupt"

    monkeypatch.setattr(loopback, "MEDIA", dialogue().path.read_bytes())
    send(worker, request.to_json())
    answer = read(worker)
    assert answer["ok"] is True
    assert answer["report"]["type"] == "stage.completed"
    (content,) = cloud.artifacts.values()
    recognition = Recognition.from_json(content)
    assert recognition.model.startswith(f"{ALIAS}@")
    assert len(recognition.segments) > 5
    assert isinstance(cloud.last_report, StageCompleted)
    assert cloud.last_report.metrics.compute_s > 0

    unknown = loopback.request(cloud, options=JobOptions(model="nobody"))
    send(worker, unknown.to_json())
    assert read(worker)["error"]["code"] == "model.unknown"


def test_it_ends_with_its_parent_amid_work(
    worker: subprocess.Popen[str],
    cloud: Cloud,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "MEDIA", dialogue().path.read_bytes())
    assert read(worker) == {"ready": True}
    send(worker, loopback.request(cloud, options=JobOptions(model=ALIAS)).to_json())
    wait_for(lambda: cloud.reports)  # it is at work, and not at its end yet
    assert worker.stdin is not None
    started = time.perf_counter()
    worker.stdin.close()
    worker.stdin = None
    worker.wait(timeout=5)
    assert time.perf_counter() - started < 2.0
    assert cloud.artifacts == {}
