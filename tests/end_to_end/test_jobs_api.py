"""Jobs over HTTP: what can be asked of one, many at once, and finding them again."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from infra.api.jobs import MAX_BATCH, ListedState
from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from shared.jobs import JobState
from tests.clouds import Phone, behave, standin_cloud, wait_for
from tests.media import encode, tone

WAV = encode("wav", tone(0.5))
_tenants = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[LocalCloud]:
    with standin_cloud(folder, max_active_jobs=MAX_BATCH + 5) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    """Of a tenant of its own."""
    return Phone(cloud.url, create_key(cloud.services, f"tenant-{next(_tenants)}", "x").token)


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"], answer.json()["detail"]


def listed(phone: Phone, **params: Any) -> list[str]:
    answer = phone.client.get("/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return [job["filename"] for job in answer.json()["data"]]


def test_what_is_asked_of_a_job_is_shown_and_reaches_its_stages(phone: Phone) -> None:
    options = {
        "hotwords": ["Dyane", "片"],
        "initial_prompt": "On the phone.",
        "stages": ["transcribe", "attribute"],
    }
    job_id = phone.send(
        WAV,
        options=options,
        metadata={"case": "7"},
        callback={"url": "https://hooks.example.com/x?secret=1"},
        retention_days=1.5,
    )
    job = phone.wait(job_id)
    assert job["state"] == "completed"
    assert {name for name, stage in job["stages"].items() if stage["state"] == "skipped"} == {"diarize", "caption"}
    assert job["options"].items() >= options.items()
    assert (job["metadata"], job["callback_host"], job["retention_days"]) == ({"case": "7"}, "hooks.example.com", 1.5)
    assert "secret" not in phone.client.get(f"/v1/jobs/{job_id}").text
    assert phone.client.get(f"/v1/jobs/{job_id}/transcript").status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"metadata": {f"k{number}": "" for number in range(51)}}, "metadata"),
        ({"metadata": {"k": "x" * 501}}, "metadata"),
        ({"metadata": {"k.l": "x"}}, "metadata"),
        ({"metadata": {"__k__": "x"}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"retention_days": 0}, "retention_days"),
        ({"callback": {"url": ""}}, "callback.url"),
        ({"callback": {}}, "callback.url"),
        ({"options": {"hotwords": "Dyane"}}, "options.hotwords"),
        ({"options": {"num_speakers": "2"}}, "options.num_speakers"),
        ({"options": {"diarize": "no"}}, "options.diarize"),
        ({"options": {"priority": 1}}, "options.priority"),
    ],
)
def test_what_cannot_be_is_refused_by_name(phone: Phone, body: dict[str, Any], said: str) -> None:
    status, code, detail = refusal(phone.client.post("/v1/jobs", json=body))
    assert (status, code) == (400, "request.invalid")
    assert said in detail
    assert listed(phone) == []


def test_a_choice_of_stages_that_comes_to_nothing_is_refused(phone: Phone) -> None:
    answer = phone.client.post("/v1/jobs", json={"options": {"stages": ["diarize"]}})
    assert refusal(answer)[:2] == (422, "request.contradictory")
    assert "without attribute" in answer.json()["detail"]


@pytest.mark.parametrize("url", ["ftp://x.example/", "https://169.254.169.254/", "https://me:pw@x.example/", "nothing"])
def test_a_callback_into_a_private_network_is_refused(phone: Phone, url: str) -> None:
    answer = phone.client.post("/v1/jobs", json={"callback": {"url": url}})
    assert refusal(answer)[:2] == (400, "outbound.refused")
    assert listed(phone) == []


def test_jobs_of_a_batch_are_made_or_refused_each_by_itself(phone: Phone) -> None:
    jobs = [{"filename": "a"}, {"options": {"model": "nosuch"}}, {"filename": "c", "size_bytes": 0}, {"filename": "d"}]
    answer = phone.client.post("/v1/jobs/batch", json={"jobs": jobs})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["problem"] and result["problem"]["code"] for result in results] == [
        None,
        "model.unknown",
        "media.empty",
        None,
    ]
    created = [result["created"] for result in results if result["created"]]
    assert [one["job"]["filename"] for one in created] == ["a", "d"]
    assert sorted(listed(phone)) == ["a", "d"]
    assert phone.put(created[1]["upload"], WAV).status_code == 200
    assert phone.wait(created[1]["job"]["job_id"])["state"] == "completed"


@pytest.mark.parametrize("jobs", [[], [{}] * (MAX_BATCH + 1), [{"filename": "a"}, {"filename": 1}]])
def test_a_malformed_batch_makes_no_job(phone: Phone, jobs: list[Any]) -> None:
    assert refusal(phone.client.post("/v1/jobs/batch", json={"jobs": jobs}))[:2] == (400, "request.invalid")
    assert listed(phone) == []


def test_a_tenant_has_so_many_jobs_and_no_more_and_a_batch_goes_on_where_it_was_cut_off(phone: Phone) -> None:
    def send() -> list[dict[str, Any]]:
        body = {"jobs": [{"filename": f"{number}"} for number in range(MAX_BATCH)]}
        return phone.client.post("/v1/jobs/batch", json=body, headers={"idempotency-key": "b"}).json()["results"]

    single = [phone.create()["job"]["job_id"] for _ in range(15)]
    first = send()
    refused = [result["problem"] for result in first if result["problem"]]
    # Several at once may go a little beyond the limit.
    assert 10 - 8 <= len(refused) <= 10
    assert {(problem["code"], problem["status"]) for problem in refused} == {("tenant.too_many_jobs", 429)}
    answer = phone.client.post("/v1/jobs", json={})
    assert refusal(answer)[:2] == (429, "tenant.too_many_jobs")
    assert int(answer.headers["retry-after"]) >= 1
    for job_id in single:
        assert phone.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    again = send()
    assert [result["problem"] for result in again] == [None] * MAX_BATCH
    made = [result["created"]["job"]["job_id"] for result in again]
    assert [one["created"]["job"]["job_id"] for one in first if one["created"]] == [
        job_id for job_id, one in zip(made, first, strict=True) if one["created"]
    ]
    assert len(set(made)) == MAX_BATCH


def test_other_tenants_jobs_do_not_count(cloud: LocalCloud, phone: Phone) -> None:
    assert phone.client.post("/v1/jobs", json={}).status_code == 201


def test_jobs_are_found_by_state_owner_metadata_and_time(phone: Phone) -> None:
    before = datetime.now(UTC)
    for name in "abcdef":
        phone.create(filename=name, owner_id="ada" if name < "d" else "bob", metadata={"case": name, "even": "yes"})
    jobs = phone.client.get("/v1/jobs").json()["data"]
    phone.client.post(f"/v1/jobs/{jobs[0]['job_id']}/cancel")
    assert listed(phone) == ["f", "e", "d", "c", "b", "a"]
    assert listed(phone, state="canceled") == ["f"]
    assert listed(phone, state=["canceled", "awaiting_upload"], owner_id="bob") == ["f", "e", "d"]
    assert listed(phone, **{"metadata.case": "b"}) == ["b"]
    assert listed(phone, **{"metadata.case": "b", "metadata.even": "yes"}) == ["b"]
    assert listed(phone, **{"metadata.case": "b", "metadata.even": "no"}) == []
    middle = datetime.fromisoformat(jobs[2]["created_at"])
    assert listed(phone, created_after=jobs[2]["created_at"])[:3] == ["f", "e", "d"]
    assert "d" not in listed(phone, created_before=(middle - timedelta(milliseconds=1)).isoformat())
    assert listed(phone, created_before=before.isoformat(), state="running") == []
    assert (
        listed(phone, created_after="9999-12-31T23:59:59Z")
        == listed(phone, created_before="0001-01-01T00:00:00Z")
        == []
    )
    phone.client.delete(f"/v1/jobs/{jobs[1]['job_id']}")
    assert listed(phone) == ["f", "d", "c", "b", "a"]


def test_pages_hold_every_job_once_though_others_come(phone: Phone) -> None:
    for number in range(7):
        phone.create(filename=f"{number}", metadata={"all": "yes"})
    seen, cursor = [], None
    while True:
        params = {"limit": 3, "metadata.all": "yes", **({"cursor": cursor} if cursor else {})}
        page = phone.client.get("/v1/jobs", params=params).json()
        seen += [job["filename"] for job in page["data"]]
        phone.create(filename="late", metadata={"all": "yes"})
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert phone.client.get("/v1/jobs", params={"limit": 10}).json()["next_cursor"] is None


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"state": "deleted"},
        {"state": "done"},
        {"metadata": "x"},
        {"created_after": "yesterday"},
        {"created_after": "1700000000"},
        {"created_after": "2026-01-01T00:00:00"},
        {"stat": "running"},
        {f"metadata.k{number}": "" for number in range(6)},
    ],
)
def test_a_filter_that_means_nothing_is_refused(phone: Phone, params: dict[str, Any]) -> None:
    assert refusal(phone.client.get("/v1/jobs", params=params))[:2] == (400, "request.invalid")


def test_a_cursor_is_of_one_list(cloud: LocalCloud, phone: Phone) -> None:
    for _ in range(2):
        phone.create()
    cursor = phone.client.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    assert len(phone.client.get("/v1/jobs", params={"limit": 5, "cursor": cursor}).json()["data"]) == 1
    for params in ({"cursor": cursor, "state": "running"}, {"cursor": cursor[:-2]}, {"cursor": "é"}, {"cursor": ""}):
        assert refusal(phone.client.get("/v1/jobs", params=params))[:2] == (400, "request.invalid")
    other = Phone(cloud.url, cloud.owner_token)
    assert refusal(other.client.get("/v1/jobs", params={"cursor": cursor}))[:2] == (400, "request.invalid")


def test_each_state_but_those_of_deleted_jobs_can_be_asked_for() -> None:
    assert list(get_args(ListedState)) == [state.value for state in JobState if not state.is_gone]


def test_who_canceled_retried_and_deleted_stands_in_the_audit_log(
    cloud: LocalCloud, phone: Phone, folder: Path
) -> None:
    behave(folder, transcribe={"wait": "never"})
    job_id = phone.send(WAV, options={"diarize": False})
    phone.wait(job_id, lambda job: job["state"] == "running")
    for wish in ("cancel", "retry"):
        assert phone.client.post(f"/v1/jobs/{job_id}/{wish}").status_code == 200
    assert phone.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    behave(folder)

    def lines() -> list[tuple[str, str]]:
        found = phone.client.get("/v1/audit").json()["data"]
        return [(line["action"], line["subject"]) for line in found if line["subject"] == job_id]

    assert wait_for(lambda: len(lines()) == 3 and lines()) == [
        ("job.deleted", job_id),
        ("job.retried", job_id),
        ("job.canceled", job_id),
    ]
