"""The same recording with the same options of one tenant: no worker hears it twice, and either job stands alone."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from shared.events import Event
from shared.reuse import Earlier
from tests.clouds import Phone, behave, standin_cloud, starts, wait_for
from tests.media import encode, tone

WAV = encode("wav", tone(1.0))
OTHER_WAV = encode("wav", tone(1.1))
GPU = ["diarize", "transcribe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[LocalCloud]:
    with standin_cloud(folder, reuse_days=30.0) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud, request: pytest.FixtureRequest) -> Phone:
    """Of a tenant of this test alone."""
    tenant_id = request.node.name.removeprefix("test_").split("[")[0].replace("_", "-")[:40]
    return Phone(cloud.url, create_key(cloud.services, tenant_id, "tests").token)


def done(phone: Phone, content: bytes = WAV, **body: Any) -> dict[str, Any]:
    job = phone.wait(phone.send(content, content_type="audio/wav", **body))
    assert job["state"] == "completed", job
    return job


def started(folder: Path, job: dict[str, Any]) -> list[str]:
    return sorted(stage for _, job_id, stage, _ in starts(folder) if job_id == job["job_id"])


def transcript(phone: Phone, job: dict[str, Any], name: str = "json") -> str:
    answer = phone.client.get(f"/v1/jobs/{job['job_id']}/transcript", params={"format": name})
    assert answer.status_code == 200, answer.text
    return answer.text


def published(cloud: LocalCloud, job: dict[str, Any]) -> list[str]:
    rows = cloud._database.query("SELECT event FROM outbox WHERE job_id = ? ORDER BY sequence", (job["job_id"],))
    events = [Event.from_json(row["event"]) for row in rows]
    return [f"{event.type} {event.data.get('stage', '')}".strip() for event in events]


def test_the_second_job_is_done_without_a_worker(
    cloud: LocalCloud, folder: Path, phone: Phone, tell: Callable[[str], None]
) -> None:
    first, second = done(phone), done(phone)
    assert (started(folder, first), started(folder, second)) == (GPU, [])
    assert (first["reused_from"], second["reused_from"]) == ("", first["job_id"])
    assert transcript(phone, first) == transcript(phone, second)
    assert second["stages"]["transcribe"]["metrics"]["compute_s"] == 0.0
    told = published(cloud, second)
    assert told[:2] == ["job.created", "media.validated"]
    assert told[-1] == "job.completed"
    assert sorted(told[2:-1]) == sorted(f"stage.completed {name}" for name in (*GPU, "attribute", "caption"))
    used = wait_for(lambda: (total := phone.client.get("/v1/usage").json()["total"])["jobs"] == 2 and total)
    assert used["audio_s"] == first["stages"]["transcribe"]["metrics"]["audio_s"]
    tell(f"a job took {_wall_s(first):.3f} s, the one with its results {_wall_s(second):.3f} s")


def _wall_s(job: dict[str, Any]) -> float:
    """From its upload to its end."""
    came, *_, went = [datetime.fromisoformat(change["at"]) for change in job["history"][1:]]
    return (went - came).total_seconds()


def test_a_third_job_takes_the_results_of_the_second(folder: Path, phone: Phone) -> None:
    first, second = done(phone), done(phone)
    assert phone.client.delete(f"/v1/jobs/{first['job_id']}").status_code == 204
    third = done(phone)
    assert (third["reused_from"], started(folder, third)) == (second["job_id"], [])


@pytest.mark.parametrize("deleted", [0, 1])
def test_either_job_is_deleted_and_the_other_stays_whole(cloud: LocalCloud, phone: Phone, deleted: int) -> None:
    jobs = [done(phone), done(phone)]
    gone, left = jobs[deleted], jobs[1 - deleted]
    before = [transcript(phone, left, name) for name in ("json", "srt", "vtt")]
    assert phone.client.delete(f"/v1/jobs/{gone['job_id']}").status_code == 204
    wait_for(lambda: not [name for name in cloud.objects.names("earwitness-results") if gone["job_id"] in name])
    assert [transcript(phone, left, name) for name in ("json", "srt", "vtt")] == before
    assert len([name for name in cloud.objects.names("earwitness-results") if left["job_id"] in name]) == 5


def test_a_deleted_job_is_not_found_and_nothing_is_kept_of_it(cloud: LocalCloud, folder: Path, phone: Phone) -> None:
    first = done(phone)
    tenant_id = cloud.jobs.get(first["job_id"]).tenant_id
    wait_for(lambda: cloud.documents.find(Earlier, tenant_id=tenant_id))
    assert phone.client.delete(f"/v1/jobs/{first['job_id']}").status_code == 204
    assert not cloud.documents.find(Earlier, tenant_id=tenant_id)
    assert started(folder, done(phone)) == GPU


@pytest.mark.parametrize(
    "options",
    [{"language": "en"}, {"hotwords": ["Earwitness"]}, {"max_speakers": 2}, {"model": "small"}, {"diarize": False}],
)
def test_other_options_are_other_results(folder: Path, phone: Phone, options: dict[str, Any]) -> None:
    done(phone)
    second = done(phone, options=options)
    assert second["reused_from"] == ""
    assert "transcribe" in started(folder, second)


def test_other_captions_are_made_of_the_same_results(folder: Path, phone: Phone) -> None:
    behave(folder, transcribe={"words": 60})
    first = done(phone)
    second = done(phone, options={"captions": {"max_line_characters": 20}})
    behave(folder)
    assert started(folder, second) == []
    assert transcript(phone, first) == transcript(phone, second)
    assert transcript(phone, first, "srt") != transcript(phone, second, "srt")


def test_another_recording_another_tenant_and_who_does_not_want_it(
    cloud: LocalCloud, folder: Path, phone: Phone
) -> None:
    done(phone)
    others = Phone(cloud.url, create_key(cloud.services, "someone-else", "tests").token)
    for job in (done(phone, OTHER_WAV), done(others), done(phone, reuse=False)):
        assert (job["reused_from"], started(folder, job)) == ("", GPU)


def test_results_that_vanished_or_are_too_old_are_made_anew(cloud: LocalCloud, folder: Path, phone: Phone) -> None:
    first = done(phone)
    tenant_id = cloud.jobs.get(first["job_id"]).tenant_id
    (known,) = wait_for(lambda: cloud.documents.find(Earlier, tenant_id=tenant_id))
    for artifact in cloud.jobs.get(first["job_id"]).artifacts:
        if artifact.filename == "turns.json":  # the copy of the other stage's is there then
            cloud.objects.delete(artifact.object)
    second = done(phone)
    assert (second["reused_from"], started(folder, second)) == ("", GPU)
    assert transcript(phone, second)
    ago = cloud.services.clock.now() - timedelta(seconds=1)
    cloud.documents.update(Earlier, known.document_id, lambda before: before.model_copy(update={"expires_at": ago}))
    assert started(folder, done(phone)) == GPU


def test_a_job_that_did_not_end_well_has_nothing_to_give(folder: Path, phone: Phone) -> None:
    behave(folder, diarize={"fail": {"code": "media.corrupt", "message": "no", "retryable": False}})
    failed = phone.wait(phone.send(WAV))
    behave(folder)
    assert failed["state"] == "failed"
    assert started(folder, done(phone)) == GPU


def test_many_at_once_are_each_done_once(cloud: LocalCloud, folder: Path, phone: Phone) -> None:
    first = done(phone)
    jobs = [phone.wait(job_id) for job_id in [phone.send(WAV, content_type="audio/wav") for _ in range(8)]]
    assert {(job["state"], job["reused_from"] != "") for job in jobs} == {("completed", True)}
    assert not [job for job in jobs if started(folder, job)]
    assert {transcript(phone, job) for job in jobs} == {transcript(phone, first)}
    for job in jobs:
        assert published(cloud, job).count("job.completed") == 1
