"""Recordings that are somewhere already: fetched from a URL, or read where they are; and what nobody gets to see."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from infra.local.cloud import LocalCloud
from infra.pipeline.fetching import fetch_source
from infra.pipeline.keys import create_key
from shared.events import Event, JobCreated, envelope
from shared.media import ObjectRef
from shared.sources import Source
from tests.clouds import Phone, standin_cloud, wait_for
from tests.origins import SECRET, WAV, Origin, serving

MAX_BYTES = 200_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with serving() as origin:
        yield origin


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    settings = {"source_timeout_s": 1.0, "source_retry_for_s": 1.5, "max_size_bytes": MAX_BYTES}
    settings["source_buckets"] = ("default=archive",)
    with standin_cloud(tmp_path_factory.mktemp("cloud"), **settings) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


def ended(phone: Phone, url: str, **body: Any) -> dict[str, Any]:
    """The job for what is at a URL, once it has ended."""
    created = phone.create(source_url=url, **body)
    assert created["upload"] is None
    return phone.wait(created["job"]["job_id"])


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def test_what_is_at_a_url_goes_the_way_of_an_upload(cloud: LocalCloud, phone: Phone, origin: Origin) -> None:
    job = ended(phone, f"{origin.url}/ok/talk.wav?key={SECRET}")
    assert (job["state"], job["filename"], job["size_bytes"]) == ("completed", "talk.wav", len(WAV))
    assert job["source"] == f"{origin.url}/ok/talk.wav"
    stored = cloud.jobs.get(job["job_id"]).media
    assert stored and stored.object.content_type == "audio/x-wav"
    assert cloud.objects.read(stored.object) == WAV
    assert phone.client.get(f"/v1/jobs/{job['job_id']}/transcript").status_code == 200


def test_a_server_names_what_it_sends_and_the_caller_knows_better(phone: Phone, origin: Origin) -> None:
    assert ended(phone, f"{origin.url}/named/x")["filename"] == "Übung.wav"
    assert ended(phone, f"{origin.url}/named/y", filename="mine.wav")["filename"] == "mine.wav"


def test_what_may_pass_is_tried_again(phone: Phone, origin: Origin) -> None:
    for path in ("/twice-broken/a.wav", "/cut/a.wav"):
        assert ended(phone, f"{origin.url}{path}")["state"] == "completed"
    assert (origin.count("/twice-broken/a.wav"), origin.count("/cut/a.wav")) == (3, 2)


def test_what_will_not_pass_ends_the_job_at_once(phone: Phone, origin: Origin) -> None:
    for path, expected in (
        ("/status/404", "source.not_found"),
        ("/status/403", "source.not_found"),
        ("/to-private", "source.refused"),
        ("/large", "media.too_large"),
    ):
        job = ended(phone, f"{origin.url}{path}")
        assert (job["state"], job["error"]["code"]) == ("failed", expected), path
        assert origin.count(path) == 1
    assert origin.sent["/large"] < 50 * MAX_BYTES, "the rest was not waited for"


def test_what_does_not_pass_in_time_ends_the_job(phone: Phone, origin: Origin) -> None:
    jobs = [
        phone.create(source_url=url)["job"]["job_id"]
        for url in (f"{origin.url}/status/503", f"{origin.url}/drip", "http://127.0.0.1:9/", f"{origin.url}/around/0")
    ]
    for job_id in jobs:
        job = phone.wait(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "source.unreachable")
    assert origin.count("/status/503") > 2
    assert origin.count("/drip") == 2, "each try has its limit"
    assert origin.count("/around/0") % 6 == 0, "each try follows five redirects"


def test_a_redirect_is_followed(phone: Phone, origin: Origin) -> None:
    assert ended(phone, f"{origin.url}/moved")["state"] == "completed"


def test_the_end_of_a_job_that_could_not_be_fetched_is_published_once(
    cloud: LocalCloud, phone: Phone, origin: Origin
) -> None:
    job_id = ended(phone, f"{origin.url}/status/410")["job_id"]
    for _ in range(2):
        fetch_source(cloud.services, created_event(job_id))
    assert published(cloud, job_id) == ["job.created", "job.failed"]
    assert origin.count("/status/410") == 1
    assert code(phone.client.post(f"/v1/jobs/{job_id}/retry")) == (409, "job.not_retryable")


def created_event(job_id: str) -> Event:
    return envelope(
        JobCreated(has_source=True),
        tenant_id="default",
        job_id=job_id,
        revision=1,
        now=NOW,
    )


def published(cloud: LocalCloud, job_id: str) -> list[str]:
    rows = cloud._database.query("SELECT event FROM outbox WHERE job_id = ? ORDER BY sequence", (job_id,))
    return [Event.from_json(row["event"]).type for row in rows]


def test_an_event_that_comes_twice_fetches_once(cloud: LocalCloud, phone: Phone, origin: Origin) -> None:
    job_id = ended(phone, f"{origin.url}/ok/twice.wav")["job_id"]
    for _ in range(2):
        fetch_source(cloud.services, created_event(job_id))
    assert origin.count("/ok/twice.wav") == 1
    # Once more as if the process had died after the upload, before anyone heard of it.
    waiting = cloud.services.jobs.get(phone.create()["job"]["job_id"])
    cloud.objects.write(
        ObjectRef(bucket="earwitness-uploads", name=f"default/{waiting.job_id}/media"), WAV, content_type="audio/wav"
    )
    give_up_at = cloud.services.clock.now()
    cloud.documents.create(
        Source(document_id=waiting.job_id, tenant_id="default", url=f"{origin.url}/ok/late.wav", give_up_at=give_up_at)
    )
    fetch_source(cloud.services, created_event(waiting.job_id))
    assert origin.count("/ok/late.wav") == 0
    assert phone.wait(waiting.job_id)["state"] == "completed"


def test_nobody_sees_the_secrets_of_a_url(
    cloud: LocalCloud, phone: Phone, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for path in ("/ok/a.wav", "/status/404", "/status/500"):
            job = ended(phone, f"{origin.url}{path}?key={SECRET}#{SECRET}")
            assert SECRET not in str(job)
            assert SECRET not in cloud.jobs.get(job["job_id"]).to_json()
            wait_for(lambda: not cloud.documents.find(Source, tenant_id="default"))
            assert SECRET not in phone.client.get(f"/v1/jobs/{job['job_id']}/events").text
    assert any(SECRET in asked for asked in origin.asked)
    assert not [line for line in caplog.records if SECRET in line.getMessage()]


def test_a_job_is_deleted_with_what_it_was_to_be_fetched_from(cloud: LocalCloud, phone: Phone, origin: Origin) -> None:
    job_id = phone.create(source_url=f"{origin.url}/status/500?key={SECRET}")["job"]["job_id"]
    assert phone.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    wait_for(lambda: not cloud.documents.find(Source, tenant_id="default"))


def test_a_batch_takes_sources_and_refuses_them_one_by_one(phone: Phone, origin: Origin) -> None:
    bodies = [
        {"source_url": f"{origin.url}/ok/b.wav"},
        {"source_url": "http://169.254.169.254/computeMetadata/v1/"},
        {"source_url": "file:///etc/passwd"},
        {"source_uri": "gs://nobody/knows.wav"},
        {},
    ]
    results = phone.client.post("/v1/jobs/batch", json={"jobs": bodies}).json()["results"]
    codes = [result["problem"] and result["problem"]["code"] for result in results]
    assert codes == [None, "source.refused", "source.refused", "source.not_found", None]
    assert [result["created"] and bool(result["created"]["upload"]) for result in results] == [
        False, None, None, None, True,
    ]  # fmt: skip
    assert phone.wait(results[0]["created"]["job"]["job_id"])["state"] == "completed"
    both = {"source_url": f"{origin.url}/ok/b.wav", "source_uri": "gs://archive/a.wav"}
    assert phone.client.post("/v1/jobs", json=both).status_code == 422


def test_the_same_request_again_makes_one_job_and_fetches_once(phone: Phone, origin: Origin) -> None:
    headers, body = {"idempotency-key": "once"}, {"source_url": f"{origin.url}/ok/once.wav"}
    answers = [phone.client.post("/v1/jobs", json=body, headers=headers) for _ in range(3)]
    assert {answer.json()["job"]["job_id"] for answer in answers} == {answers[0].json()["job"]["job_id"]}
    assert [answer.json()["upload"] for answer in answers] == [None] * 3
    phone.wait(answers[0].json()["job"]["job_id"])
    assert origin.count("/ok/once.wav") == 1


def test_an_object_is_read_where_it_is_and_stays_there(cloud: LocalCloud, phone: Phone) -> None:
    there = ObjectRef(bucket="archive", name="2026/talk.wav")
    cloud.objects.write(there, WAV, content_type="audio/wav")
    created = phone.create(source_uri="gs://archive/2026/talk.wav")
    assert created["upload"] is None
    job = phone.wait(created["job"]["job_id"])
    assert (job["state"], job["filename"], job["source"]) == ("completed", "talk.wav", "gs://archive/2026/talk.wav")
    assert phone.client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    wait_for(lambda: not [n for n in cloud.objects.names("earwitness-results") if job["job_id"] in n])
    assert cloud.objects.read(there) == WAV


def test_an_object_that_is_no_recording_is_rejected_and_stays(cloud: LocalCloud, phone: Phone) -> None:
    there = ObjectRef(bucket="archive", name="notes.txt")
    cloud.objects.write(there, b"no recording at all", content_type="text/plain")
    job = phone.wait(phone.create(source_uri="gs://archive/notes.txt")["job"]["job_id"])
    assert (job["state"], job["error"]["code"]) == ("rejected", "media.unsupported")
    assert cloud.objects.read(there)


def test_an_object_of_the_inbox_goes_with_its_job(cloud: LocalCloud, phone: Phone) -> None:
    there = ObjectRef(bucket="earwitness-uploads", name="inbox/default/dropped.wav")
    cloud.objects.write(there, WAV, content_type="audio/wav")
    job = phone.wait(phone.create(source_uri=f"gs://{there.bucket}/{there.name}")["job"]["job_id"])
    assert job["state"] == "completed"
    assert phone.client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    wait_for(lambda: there.name not in cloud.objects.names(there.bucket))


def test_others_objects_look_as_if_they_were_not_there(cloud: LocalCloud, phone: Phone) -> None:
    mine = phone.send(WAV)
    inbox = "gs://earwitness-uploads/inbox/default/mine.wav"
    for ref in (
        ObjectRef(bucket="archive", name="mine.wav"),
        ObjectRef(bucket="earwitness-uploads", name="inbox/default/mine.wav"),
        ObjectRef(bucket="earwitness-uploads", name="inbox/defaults/theirs.wav"),
    ):
        cloud.objects.write(ref, WAV, content_type="audio/wav")
    token = create_key(cloud.services, "other", "tests").token
    other = Phone(cloud.url, token).client
    phone.wait(mine)
    refusals = [
        other.post("/v1/jobs", json={"source_uri": uri})
        for uri in (
            inbox,
            "gs://archive/mine.wav",
            "gs://archive/nothing.wav",
            f"gs://earwitness-uploads/default/{mine}/media",
            f"gs://earwitness-results/default/{mine}/words.json",
            "gs://earwitness-uploads/inbox/other/nothing.wav",
        )
    ]
    refusals += [
        phone.client.post("/v1/jobs", json={"source_uri": uri})
        for uri in (
            f"gs://earwitness-uploads/default/{mine}/media",
            "gs://earwitness-uploads/inbox/defaults/theirs.wav",
            "gs://archive/nothing.wav",
        )
    ]
    assert [code(answer) for answer in refusals] == [(404, "source.not_found")] * 9
    assert len({answer.json()["detail"] for answer in refusals}) == 1
    assert (
        code(other.post("/v1/jobs", json={"source_uri": "gs://earwitness-uploads/inbox/other/../default/mine.wav"}))[0]
        == 400
    )
