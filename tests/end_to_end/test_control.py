"""Cancel, try again, delete: by HTTP and by the command beside a running cloud; and dead letters."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.cloud import LocalCloud
from infra.local.event_queue import MAX_ATTEMPTS
from tests.clouds import Phone, behave, standin_cloud, starts, wait_for
from tests.commands import earwitness
from tests.media import encode, tone

WAV = encode("wav", tone(2.0))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


def held(phone: Phone, tmp_path: Path) -> str:
    """A job whose stages would run for ever."""
    behave(tmp_path, transcribe={"hang": True}, diarize={"hang": True})
    job_id = phone.send(WAV)
    wait_for(lambda: {stage for _, job, stage, _ in starts(tmp_path) if job == job_id} == {"transcribe", "diarize"})
    behave(tmp_path)
    return job_id


def test_cancel_stops_the_workers_within_seconds_and_retry_finishes_the_job(
    cloud: LocalCloud, phone: Phone, tmp_path: Path
) -> None:
    job_id = held(phone, tmp_path)
    workers = [psutil.Process(pid) for pid in cloud.runner.pids().values()]
    canceled_at = time.monotonic()
    assert phone.client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "canceled"
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == [] and time.monotonic() - canceled_at < 5.0
    assert phone.client.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "running"
    job = phone.wait(job_id)
    assert job["state"] == "completed"
    assert {name: job["stages"][name]["attempt"] for name in ("transcribe", "diarize")} == {
        "transcribe": 2,
        "diarize": 2,
    }


def test_retry_repeats_the_failed_stage_alone(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, diarize={"fail": {"code": "media.corrupt", "message": "x", "retryable": False}})
    job_id = phone.send(WAV)
    wait_for(lambda: phone.job(job_id)["stages"]["transcribe"]["state"] == "completed" or phone.job(job_id)["error"])
    assert phone.wait(job_id)["state"] == "failed"
    behave(tmp_path)
    phone.client.post(f"/v1/jobs/{job_id}/retry")
    assert phone.wait(job_id)["state"] == "completed"
    assert phone.client.post(f"/v1/jobs/{job_id}/cancel").json()["code"] == "job.not_cancelable"
    assert phone.client.post(f"/v1/jobs/{job_id}/retry").json()["code"] == "job.not_retryable"


def test_delete_leaves_nothing(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    kept, gone = phone.send(WAV), phone.send(WAV)
    for job_id in (kept, gone):
        assert phone.wait(job_id)["state"] == "completed"
    assert phone.client.delete(f"/v1/jobs/{gone}").status_code == 204
    buckets = ("earwitness-uploads", "earwitness-results")
    wait_for(lambda: not [name for bucket in buckets for name in cloud.objects.names(bucket) if gone in name])
    assert len([name for bucket in buckets for name in cloud.objects.names(bucket) if kept in name]) == 6
    for call in ("", "/transcript"):
        assert phone.client.get(f"/v1/jobs/{gone}{call}").status_code == 404
    assert phone.client.delete(f"/v1/jobs/{gone}").status_code == 404
    assert len(list((tmp_path / "cloud" / "objects").iterdir())) == 6
    assert phone.client.get(f"/v1/jobs/{kept}/transcript").status_code == 200


def test_a_report_of_a_deleted_job_is_dropped(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    job_id = held(phone, tmp_path)
    token = cloud.services.report_tokens.sign(job_id, "transcribe", 1)
    phone.client.delete(f"/v1/jobs/{job_id}")
    answer = phone.client.post(
        f"/functions/on_report/{job_id}",
        json={"type": "stage.completed", "stage": "transcribe", "attempt": 1},
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 410
    assert cloud.jobs.get(job_id).state == "deleting"


def test_a_job_ends_at_its_deadline(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"hang": True})
    created = phone.create(deadline_s=1.5)
    upload = created["upload"]
    phone.put(upload, WAV)
    job = phone.wait(created["job"]["job_id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "job.overdue")


def test_the_commands_reach_a_cloud_that_is_up(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    job_id, data = held(phone, tmp_path), ("--data", tmp_path / "cloud")
    assert earwitness("cancel", job_id, *data).stdout == f"{job_id}: canceled.\n"
    wait_for(lambda: not cloud.runner.pids())
    assert earwitness("retry", job_id, *data).stdout == f"{job_id}: tried again.\n"
    assert phone.wait(job_id)["state"] == "completed"
    again = earwitness("retry", job_id, *data)
    assert (again.returncode, again.stderr) == (1, "error: job.not_retryable: The job is completed.\n")
    assert earwitness("delete", job_id, *data).returncode == 0
    assert phone.client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert "No jobs yet." in earwitness("jobs", *data).stdout
    assert "job.not_found" in earwitness("cancel", "job_x", *data).stderr
    audit = phone.client.get("/v1/audit").json()["data"]
    done = [line["action"] for line in audit if (line["actor"], line["subject"]) == ("owner", job_id)]
    assert done == ["job.deleted", "job.retried", "job.canceled"]


def test_dead_letters_are_shown_and_delivered_again(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "cloud")
    assert earwitness("dead-letters", "list", *data).stdout == "No dead letters.\n"
    job_id = phone.wait(phone.send(WAV))["job_id"]
    with sqlite3.connect(tmp_path / "cloud" / "state.sqlite") as connection:
        connection.execute(
            "INSERT INTO messages (subscription, ordering_key, headers, body, attempts) VALUES (?, ?, ?, ?, ?)",
            ("orchestrate", job_id, '{"ce-id": "nonsense/1"}', b"nonsense", MAX_ATTEMPTS - 1),
        )
    cloud.queue.arrived.set()
    wait_for(cloud.queue.dead_letters)
    shown = earwitness("dead-letters", "list", *data).stdout
    assert "nonsense/1" in shown and "orchestrate" in shown and "HTTP 400" in shown
    refused = earwitness("dead-letters", "replay", "999", *data)
    assert (refused.returncode, refused.stderr) == (1, "error: request.invalid: There is no dead letter 999.\n")
    assert earwitness("dead-letters", "replay", *data).stdout == "1 delivered again.\n"
    assert cloud.queue.dead_letters() == []
