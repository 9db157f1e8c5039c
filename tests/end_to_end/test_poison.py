"""What goes wrong again and again, and services that are away: typed, visible, bounded, and nothing else waits."""

import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud import LocalCloud
from shared.errors import PipelineError
from shared.stages import STAGES
from tests.clouds import Phone, behave, standin_cloud, starts, token_of, wait_for
from tests.media import encode, tone
from tests.soak.findings import look
from tests.soak.tree import Tree

WAV = encode("wav", tone(2.0))
ATTEMPTS = STAGES["transcribe"].max_attempts


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path, lease_s=1.0) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


ALWAYS: dict[str, tuple[dict[str, Any], str]] = {
    "breaks off": ({"signal": signal.SIGSEGV}, "stage.crashed"),
    "answers nonsense": ({"answers": {"ok": True, "report": {"type": "stage.completed"}}}, "stage.crashed"),
}


@pytest.mark.parametrize("what", ALWAYS)
def test_a_stage_that_always_goes_wrong_fails_its_job_alone(phone: Phone, tmp_path: Path, what: str) -> None:
    behaviour, code = ALWAYS[what]
    behave(tmp_path, transcribe=behaviour)
    job_id = phone.send(WAV, options={"diarize": False})
    job = phone.wait(job_id)
    assert (job["state"], job["error"]["code"], job["stages"]["transcribe"]["attempt"]) == ("failed", code, ATTEMPTS)
    assert len(starts(tmp_path)) == ATTEMPTS
    behave(tmp_path)
    assert phone.wait(phone.send(WAV))["state"] == "completed"
    phone.client.post(f"/v1/jobs/{job_id}/retry")
    assert phone.wait(job_id)["state"] == "completed"


@pytest.mark.parametrize("content", ['{"segments": [{"words": 1}]}', "[" * 100_000])
def test_an_artifact_that_is_nonsense_fails_its_job_with_a_code(phone: Phone, tmp_path: Path, content: str) -> None:
    behave(tmp_path, transcribe={"writes": content})
    job = phone.wait(phone.send(WAV, options={"diarize": False}))
    assert (job["state"], job["error"]["code"]) == ("failed", "internal")
    assert "Traceback" not in str(job) and str(tmp_path) not in str(job)
    behave(tmp_path)
    assert phone.wait(phone.send(WAV))["state"] == "completed"


def test_a_stage_that_never_ends_is_ended_by_the_deadline(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"hang": True})
    created = phone.create(deadline_s=1.0, options={"diarize": False})
    upload = created["upload"]
    phone.put(upload, WAV)
    assert phone.wait(created["job"]["job_id"])["error"]["code"] == "job.overdue"
    behave(tmp_path)
    assert phone.wait(phone.send(WAV))["state"] == "completed"


def test_a_database_that_is_locked_for_a_while_delays_and_loses_nothing(
    cloud: LocalCloud, phone: Phone, tmp_path: Path
) -> None:
    behave(tmp_path, transcribe={"sleep_s": 0.3}, diarize={"sleep_s": 0.3})
    job_ids = [phone.send(WAV) for _ in range(3)]
    release = threading.Event()
    locked = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(tmp_path / "cloud" / "state.sqlite", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        locked.set()
        release.wait(30)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    assert locked.wait(10)
    # Longer than the store waits for the lock: what it would have written is refused by a typed error.
    answer = phone.client.post("/v1/jobs", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    release.set()
    thread.join()
    assert {phone.wait(job_id)["state"] for job_id in job_ids} == {"completed"}
    assert cloud.queue.dead_letters() == []


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process' files")
def test_a_disk_that_is_full_for_a_while_delays_and_loses_nothing(tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"sleep_s": 0.3}, diarize={"sleep_s": 0.3})
    tree = Tree(tmp_path)
    tree.start()
    try:
        phone = Phone(tree.url, token_of(tmp_path / "cloud"))
        job_ids = [phone.send(WAV) for _ in range(3)]
        created = phone.create()
        wait_for(lambda: starts(tmp_path))
        # The kernel refuses every further byte to any file of the cloud, as a full disk would.
        before = resource.prlimit(tree.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        answer = phone.client.post("/v1/jobs", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
        upload = created["upload"]
        refused = phone.put(upload, WAV)
        assert (refused.status_code, "service.unavailable" in refused.text) == (503, True)
        assert phone.job(job_ids[0])["job_id"] == job_ids[0]  # what is there can still be read
        wait_for(lambda: len(starts(tmp_path)) >= 2)
        resource.prlimit(tree.pid, resource.RLIMIT_FSIZE, before)
        stored = phone.put(upload, WAV)
        assert stored.status_code == 200
        for job_id in (*job_ids, created["job"]["job_id"]):
            assert phone.wait(job_id)["state"] == "completed"
    finally:
        tree.stop()
    found = look(tmp_path / "cloud", (*job_ids, created["job"]["job_id"]))
    assert (found.lost, found.twice, found.dead_letters) == ([], [], 0)


def test_an_object_store_that_is_away_for_a_while_delays_and_loses_nothing(
    cloud: LocalCloud, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def away_at_first(method: str) -> Callable[..., Any]:
        real = getattr(cloud.objects, method)

        def call(*arguments: Any, **options: Any) -> Any:
            if method not in refused:
                refused.append(method)
                raise PipelineError("service.unavailable", "The object store did not answer.")
            return real(*arguments, **options)

        return call

    methods = ["sign_download", "read"]  # of a stage that a runner is to run, and of one that runs here
    for method in methods:
        monkeypatch.setattr(cloud.objects, method, away_at_first(method))
    job = phone.wait(phone.send(WAV))
    assert job["state"] == "completed", job
    assert sorted(refused) == sorted(methods)
    assert cloud.queue.dead_letters() == []


def test_reports_of_old_attempts_and_with_wrong_tokens_change_nothing(
    cloud: LocalCloud, phone: Phone, tmp_path: Path
) -> None:
    behave(tmp_path, transcribe={"crash": 1, "sleep_s": 30})
    job_id = phone.send(WAV, options={"diarize": False})
    wait_for(lambda: phone.job(job_id)["stages"]["transcribe"]["attempt"] == 2)
    before = phone.job(job_id)["stages"]["transcribe"]
    for attempt, signed in ((1, 1), (2, 1), (3, 3)):
        token = cloud.services.report_tokens.sign(job_id, "transcribe", signed)
        failure = {"code": "media.corrupt", "message": "x"}
        answer = phone.client.post(
            f"/functions/on_report/{job_id}",
            json={"type": "stage.failed", "stage": "transcribe", "attempt": attempt, "error": failure},
            headers={"authorization": f"Bearer {token}"},
        )
        assert answer.status_code == (401 if attempt != signed else 410)
    after = phone.job(job_id)["stages"]["transcribe"]
    assert (after["attempt"], after["state"] in ("dispatched", "running")) == (before["attempt"], True)
