"""What an operator asks a running cloud: whether it lives and is ready, and for its metrics."""

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local.cloud import LocalCloud
from infra.settings import Settings
from infra.wiring import GoogleServices
from tests.clouds import Phone, standin_cloud, wait_for
from tests.emulators import Emulator, free_port
from tests.media import encode, tone
from tests.served import served

WAV = encode("wav", tone(1.0))
TOKEN = "of the one who scrapes"
READY = {"status": "up", "dependencies": {"database": "up", "objects": "up"}}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path, metrics_token=TOKEN) as cloud:
        yield cloud


def metrics(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_cloud_that_is_up_lives_and_is_ready(cloud: LocalCloud) -> None:
    assert httpx.get(f"{cloud.url}/v1/health/live").json() == {"status": "up"}
    answer = httpx.get(f"{cloud.url}/v1/health/ready")
    assert (answer.status_code, answer.json()) == (200, READY)


def test_it_says_which_service_does_not_answer_and_soon(
    gcs: Emulator, firestore: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    settings = Settings(cloud="google", project=f"test-{uuid.uuid4().hex[:12]}")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    with served("api", GoogleServices(settings)) as url:
        begun = time.monotonic()
        down = httpx.get(f"{url}/v1/health/ready", timeout=30)
        took_s = time.monotonic() - begun
        assert (down.status_code, down.json()["status"]) == (503, "down")
        assert down.json()["dependencies"]["database"] == "down"
        assert took_s < 10  # a look is given two seconds, and all are at the same time
        assert httpx.get(f"{url}/v1/health/live").status_code == 200
        # Nobody has told it where it is reached: what it says of itself holds wherever that is.
        assert httpx.get(f"{url}/v1/jobs").json()["type"] == "/errors#request.unauthorized"
        assert httpx.get(f"{url}/openapi.json").json()["servers"][0]["url"] == "/"
        # On a busy machine the first look at the other may take too long.
        wait_for(lambda: httpx.get(f"{url}/v1/health/ready", timeout=30).json()["dependencies"]["objects"] == "up")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    with served("api", GoogleServices(settings)) as url:
        up = wait_for(lambda: (answer := httpx.get(f"{url}/v1/health/ready", timeout=30)).is_success and answer)
        assert up.json() == READY


def test_metrics_are_for_who_has_the_token(cloud: LocalCloud, tmp_path: Path) -> None:
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {cloud.owner_token}"}):
        assert httpx.get(f"{cloud.url}/metrics", headers=headers).status_code == 401
    with standin_cloud(tmp_path / "other") as other:
        assert httpx.get(f"{other.url}/metrics", headers={"authorization": "Bearer x"}).status_code == 404


def test_metrics_tell_jobs_stages_queue_and_requests(cloud: LocalCloud) -> None:
    phone = Phone(cloud.url, cloud.owner_token)
    phone.create()
    job_id = phone.send(WAV)
    phone.wait(job_id)
    phone.client.get("/v1/jobs/unknown")
    phone.client.get("/anything/that/nobody/knows")
    phone.client.request("ODD", "/v1/jobs")
    wait_for(lambda: cloud.queue.depth() == 0)
    found = metrics(cloud.url)
    assert found["earwitness_jobs", (("state", "completed"),)] == 1
    assert found["earwitness_jobs", (("state", "awaiting_upload"),)] == 1
    assert found["earwitness_outbox_events", ()] == 0
    assert found["earwitness_dead_letters", ()] == 0
    assert found["earwitness_stage_seconds_bucket", (("le", "+Inf"), ("stage", "transcribe"))] == 1
    assert found["earwitness_stage_seconds_gcount", (("stage", "diarize"),)] == 1
    assert ("earwitness_webhook_deliveries", (("state", "pending"),)) in found

    def requests(method: str, route: str, status: int) -> float:
        labels = (("method", method), ("route", route), ("status", str(status)))
        assert found["earwitness_http_seconds_count", labels] == found["earwitness_http_requests_total", labels]
        return found["earwitness_http_requests_total", labels]

    assert requests("POST", "/v1/jobs", 201) >= 2
    assert requests("GET", "/v1/jobs/{job_id}", 404) >= 1
    assert requests("GET", "other", 404) >= 1
    assert not [labels for _, labels in found if job_id in str(labels) or "nobody" in str(labels)]


def test_metrics_tell_how_long_the_oldest_message_waits(cloud: LocalCloud) -> None:
    cloud._dispatcher.stop()  # nobody takes what is published
    phone = Phone(cloud.url, cloud.owner_token)
    phone.put(phone.create()["upload"], WAV)
    labels = (("subscription", "on_upload"),)
    first = metrics(cloud.url)
    assert first["earwitness_queue_messages", labels] == 1
    later = wait_for(
        lambda: (now := metrics(cloud.url)["earwitness_queue_oldest_seconds", labels]) > 0.05 and now, timeout_s=5
    )
    assert first["earwitness_queue_oldest_seconds", labels] < later < 10


def test_metrics_on_firestore(firestore: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")  # is not asked
    settings = Settings(cloud="google", project=f"test-{uuid.uuid4().hex[:12]}", metrics_token=TOKEN)
    with served("api", GoogleServices(settings)) as url:
        found = metrics(url)
    assert found["earwitness_jobs", (("state", "running"),)] == 0
    assert not [name for name, _ in found if re.search("queue|dead", name)]
