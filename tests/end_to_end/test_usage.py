"""What was used, by day, and who did what."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from infra.pipeline.orchestration import orchestrate_event
from infra.pipeline.usage import read_usage
from shared.events import Metrics, StageCompleted, envelope
from shared.usage import UsageEntry, Used
from tests.clouds import Phone, behave, standin_cloud, wait_for
from tests.media import encode, tone

WAV, OTHER = encode("wav", tone(1.0)), encode("wav", tone(2.0))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


def at_rest(cloud: LocalCloud) -> None:
    wait_for(lambda: cloud.queue.depth() == 0 and not cloud.jobs.unpublished())


def test_use_is_told_by_day_and_outlives_the_job(cloud: LocalCloud, tmp_path: Path) -> None:
    phone = Phone(cloud.url, cloud.owner_token)
    done = phone.send(WAV)
    phone.wait(done)
    behave(tmp_path, diarize={"fail": {"code": "media.corrupt", "message": "x", "retryable": False}})
    failed = phone.send(OTHER)
    assert phone.wait(failed)["state"] == "failed"
    phone.create()  # nothing comes of it, and it has used nothing
    at_rest(cloud)
    metrics = {name: stage["metrics"] for name, stage in phone.job(done)["stages"].items() if stage["metrics"]}
    before = phone.client.get("/v1/usage").json()
    assert phone.client.delete(f"/v1/jobs/{done}").status_code == 204
    wait_for(lambda: phone.client.get(f"/v1/jobs/{done}").status_code == 404)
    for event in cloud.jobs.history(failed):  # all events come once more
        orchestrate_event(cloud.services, event)
    at_rest(cloud)
    usage = phone.client.get("/v1/usage").json()
    assert usage == before
    (day,) = usage["data"]
    assert day["day"] == datetime.now(UTC).date().isoformat()
    assert day["jobs"] == usage["total"]["jobs"] == 2
    assert day["compute_s"] >= sum(each["compute_s"] for each in metrics.values())
    entry = cloud.documents.get(UsageEntry, done)
    assert {name.partition("/")[0] for name in entry.attempts} <= {"transcribe", "diarize"}
    assert all(used.duration_s is not None and used.duration_s >= 0 for used in entry.attempts.values())


def test_an_attempt_counts_once_and_one_of_a_deleted_job_too(cloud: LocalCloud) -> None:
    phone = Phone(cloud.url, cloud.owner_token)
    job_id = phone.send(WAV)
    phone.wait(job_id)
    at_rest(cloud)
    phone.client.delete(f"/v1/jobs/{job_id}")
    at_rest(cloud)
    entry = cloud.documents.get(UsageEntry, job_id)
    cost = Metrics(audio_s=60.0, compute_s=2.0, model="m", cost_usd=0.25)
    for attempt in (7, 8, 7):
        fact = StageCompleted(stage="transcribe", attempt=attempt, metrics=cost)
        now = cloud.services.clock.now()
        orchestrate_event(cloud.services, envelope(fact, tenant_id="default", job_id=job_id, revision=attempt, now=now))
    today = datetime.now(UTC).date()
    (day,) = read_usage(cloud.services, "default", today, today)
    assert day.cost_usd == 0.5 and day.audio_s == 60.0 and day.jobs == 1
    assert day.compute_s == pytest.approx(entry.compute_s + 4.0)


def test_days_are_whole_and_those_of_others_are_left_out(cloud: LocalCloud) -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    for hours in range(0, 24 * 4, 6):
        at = first + timedelta(hours=hours)
        for tenant_id, number in (("default", 0), ("default", 1), ("other", 0)):
            cloud.documents.create(
                UsageEntry(
                    document_id=f"job_{int(at.timestamp() * 1000):012x}{tenant_id[0]}{number:015x}",
                    tenant_id=tenant_id,
                    at=at,
                    attempts={"transcribe/1": Used(metrics=Metrics(audio_s=10.0, compute_s=1.0))},
                )
            )
    client = Phone(cloud.url, cloud.owner_token).client
    usage = client.get("/v1/usage", params={"from": "2026-03-02", "to": "2026-03-03"}).json()
    expected = {"jobs": 8, "audio_s": 80.0, "compute_s": 8.0, "cost_usd": None}
    assert usage["data"] == [{"day": day, **expected} for day in ("2026-03-02", "2026-03-03")]
    assert usage["total"] == {"day": "2026-03-03", "jobs": 16, "audio_s": 160.0, "compute_s": 16.0, "cost_usd": None}
    for wrong in (
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"to": "0001-01-01"},
        {"to": "9999-12-31"},
        {"from": "yesterday"},
    ):
        assert client.get("/v1/usage", params=wrong).status_code == 400, wrong


def test_the_audit_log_is_read_in_pages_by_its_own_tenant(cloud: LocalCloud) -> None:
    client = Phone(cloud.url, cloud.owner_token).client
    made = [client.post("/v1/keys", json={"name": f"{number}"}).json()["key"]["key_id"] for number in range(3)]
    lines, cursor = [], None
    while True:
        page = client.get("/v1/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        lines += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
    told = [(line["action"], line["subject"]) for line in lines if line["action"] == "key.created"]
    assert told[:3] == [("key.created", key_id) for key_id in reversed(made)]
    assert all(line["actor"].startswith("key_") for line in lines[:3])
    other = Phone(cloud.url, create_key(cloud.services, "other", "x").token).client
    assert [line["subject"] for line in other.get("/v1/audit").json()["data"]] != []
    assert not {line["id"] for line in other.get("/v1/audit").json()["data"]} & {line["id"] for line in lines}
    blind = Phone(cloud.url, create_key(cloud.services, "default", "x", scopes=["jobs:read"]).token).client
    assert [blind.get(path).status_code for path in ("/v1/usage", "/v1/audit")] == [403, 403]
