"""Every operation of the reference is done once with success, over HTTP: an operation that is not fails this test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud import LocalCloud
from tests.api_world import OPERATIONS, WAV, request, tenant
from tests.clouds import Phone, behave, standin_cloud


class Walk:
    """Does operations by name, and keeps which."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.done: set[str] = set()

    def __call__(self, name: str, *, ids: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Do an operation; it must end as the reference says that it ends well."""
        answer = request(self.phone.client, name, ids or {}, **more)
        _, _, operation = OPERATIONS[name]
        good = [status for status in operation["responses"] if status.startswith("2")]
        assert str(answer.status_code) in good, (name, answer.status_code, answer.text)
        self.done.add(name)
        return answer


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


def test_every_operation_is_done_by_this_walk(cloud: LocalCloud, tmp_path: Path, tell: Callable[[str], None]) -> None:
    behave(tmp_path, transcribe={"words": 40}, diarize={"words": 40})
    walk = Walk(tenant(cloud, "a"))
    job = {"job_id": _jobs(walk)}
    _transcripts(walk, job)
    _retried(walk, tmp_path)
    _webhooks(walk, cloud)
    _rest(walk)
    walk("jobs_delete", ids=job)
    assert walk.phone.client.get(f"/v1/jobs/{job['job_id']}").status_code == 404
    assert walk.done == OPERATIONS.keys(), f"no test does {sorted(OPERATIONS.keys() - walk.done)}"
    tell(f"{len(walk.done)} of {len(OPERATIONS)} operations done over HTTP")


def _jobs(walk: Walk) -> str:
    """The id of a completed job."""
    other = walk("jobs_create", json={"filename": "a.wav"}).json()["job"]["job_id"]
    created = walk("jobs_create", json={"filename": "b.wav", "metadata": {"n": "1"}}).json()
    assert walk.phone.put(created["upload"], WAV).status_code == 200
    job_id: str = created["job"]["job_id"]
    assert walk("jobs_cancel", ids={"job_id": other}).json()["state"] == "canceled"
    batch = walk("jobs_create_batch", json={"jobs": [{"filename": "c.wav"}, {}]}).json()
    assert len(batch["results"]) == 2
    with walk.phone.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.status_code == 200
        lines = list(stream.iter_lines())  # until the job has ended
    assert any(line.startswith("data:") for line in lines)
    walk.done.add("jobs_events")
    assert walk("jobs_status", ids={"job_id": job_id}).json()["state"] == "completed"
    listed = walk("jobs_page", params={"metadata.n": "1"}).json()["data"]
    assert [row["job_id"] for row in listed] == [job_id]
    return job_id


def _retried(walk: Walk, folder: Path) -> None:
    """A job that is canceled while its models run, and goes on."""
    behave(folder, transcribe={"hang": True})
    job_id = walk.phone.send(WAV)
    walk.phone.wait(job_id, lambda job: job["state"] == "running")
    walk("jobs_cancel", ids={"job_id": job_id})
    behave(folder)
    walk("jobs_retry", ids={"job_id": job_id})
    assert walk.phone.wait(job_id)["state"] == "completed"


def _transcripts(walk: Walk, job: dict[str, str]) -> None:
    transcript = walk("transcripts_transcript", ids=job).json()
    assert len(transcript["segments"]) == 4
    for name in ("transcripts_sentence_page", "transcripts_paragraph_page"):
        assert walk(name, ids=job).json()["data"]
    assert walk("transcripts_matches", ids=job, params={"q": "word7"}).json()["total"] == 1
    walk("transcripts_name_speaker", ids=job, json={"name": "Ada"})
    merged = walk("transcripts_merge_speakers", ids=job, json={"speakers": ["SPEAKER_01"], "into": "SPEAKER_00"})
    version = merged.json()["version"]
    edit = {"base_version": version, "edits": [{"segment": 0, "text": "Good morning."}]}
    assert walk("transcripts_edit", ids=job, json=edit).json()["version"] == version + 1
    assert len(walk("transcripts_versions", ids=job).json()["data"]) == version + 1
    walk("transcripts_diff", ids={**job, "version": "2"})
    walk("transcripts_restore", ids=job)


def _webhooks(walk: Walk, cloud: LocalCloud) -> None:
    made = walk("webhooks_create", json={"url": f"{cloud.url}/hook"}).json()["webhook"]
    hook = {"webhook_id": made["webhook_id"]}
    assert walk("webhooks_page").json()["data"] == [made]
    assert walk("webhooks_show", ids=hook).json() == made
    assert walk("webhooks_change", ids=hook, json={"description": "mine"}).json()["description"] == "mine"
    walk("webhooks_rotate", ids=hook)
    walk("webhooks_rotate_callback")
    delivery = {"delivery_id": walk("webhooks_send_ping", ids=hook).json()["delivery_id"]}
    walk("webhooks_deliveries", ids=hook)
    walk("webhooks_show_delivery", ids=delivery)
    walk("webhooks_replay_one", ids=delivery)
    walk("webhooks_replay_all", ids=hook)
    walk("webhooks_delete", ids=hook)


def _rest(walk: Walk) -> None:
    answer = walk("openai_transcriptions", files={"file": ("a.wav", WAV)}, data={"model": "whisper-1"})
    assert answer.json()["text"].startswith("word0 word1")
    key = walk("keys_create", json={"name": "app"}).json()["key"]
    assert key["key_id"] in walk("keys_page").text
    walk("keys_rotate", ids={"key_id": key["key_id"]})
    walk("keys_revoke", ids={"key_id": key["key_id"]})
    assert key["key_id"] in walk("usage_audit").text
    assert walk("usage_usage").json()["total"]["audio_s"] > 0
    for name in ("operations_live", "operations_ready", "operations_metrics"):
        if name in OPERATIONS:
            walk(name)
