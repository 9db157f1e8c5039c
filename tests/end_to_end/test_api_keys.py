"""Keys over HTTP and by command: who gets in, as whom, how often, and who does not any more."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud import LocalCloud
from infra.pipeline.audit import OWNER, read_audit
from infra.pipeline.keys import create_key
from shared.errors import PipelineError
from tests.clouds import Phone, standin_cloud
from tests.commands import earwitness
from tests.media import encode, tone

WAV = encode("wav", tone(1.0))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def owner(cloud: LocalCloud) -> httpx.Client:
    return Phone(cloud.url, cloud.owner_token).client


def with_token(cloud: LocalCloud, token: str) -> httpx.Client:
    return Phone(cloud.url, token).client


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}, {"x-api-key": "ew_"}]
)
def test_without_a_key_there_is_nothing_to_see(cloud: LocalCloud, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("GET", "/v1/keys"), ("DELETE", "/v1/keys/x")):
        answer = httpx.request(method, f"{cloud.url}{path}", headers=headers, json={} if method == "POST" else None)
        assert code(answer) == (401, "request.unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_goes_into_either_header(cloud: LocalCloud, owner: httpx.Client) -> None:
    token = owner.post("/v1/keys", json={"name": "app"}).json()["token"]
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        assert httpx.post(f"{cloud.url}/v1/jobs", headers=headers, json={}).status_code == 201


def test_a_key_is_made_used_listed_rotated_and_revoked(cloud: LocalCloud, owner: httpx.Client) -> None:
    made = owner.post("/v1/keys", json={"name": "app", "scopes": ["jobs:write", "jobs:read"]}).json()
    key_id, app = made["key"]["key_id"], with_token(cloud, made["token"])
    job_id = app.post("/v1/jobs", json={}).json()["job"]["job_id"]
    assert app.get(f"/v1/jobs/{job_id}").status_code == 200
    assert code(app.get(f"/v1/jobs/{job_id}/transcript")) == (403, "request.forbidden")
    assert code(app.get("/v1/keys")) == (403, "request.forbidden")
    listed = {key["key_id"]: key for key in owner.get("/v1/keys").json()["data"]}
    assert listed[key_id]["last_used_at"] and made["token"].startswith(listed[key_id]["prefix"])
    assert made["token"] not in owner.get("/v1/keys").text
    rotated = owner.post(f"/v1/keys/{key_id}/rotate", json={"grace_s": 60}).json()
    for token in (made["token"], rotated["token"]):
        assert with_token(cloud, token).get(f"/v1/jobs/{job_id}").status_code == 200
    assert owner.delete(f"/v1/keys/{key_id}").status_code == 204
    for token in (made["token"], rotated["token"]):
        assert code(with_token(cloud, token).get(f"/v1/jobs/{job_id}")) == (401, "request.unauthorized")
    assert code(owner.delete(f"/v1/keys/{key_id}")) == (404, "key.not_found")


def test_no_key_makes_one_that_may_do_more(cloud: LocalCloud, owner: httpx.Client) -> None:
    token = owner.post("/v1/keys", json={"name": "ops", "scopes": ["keys:write", "keys:read"]}).json()["token"]
    ops = with_token(cloud, token)
    assert ops.post("/v1/keys", json={"name": "x", "scopes": ["keys:read"]}).status_code == 201
    assert code(ops.post("/v1/keys", json={"name": "x", "scopes": ["jobs:read"]})) == (403, "request.forbidden")
    assert code(ops.post("/v1/keys", json={"name": "x", "scopes": ["jobs:all"]})) == (400, "request.invalid")


def test_no_key_gets_the_token_of_one_that_may_do_more(owner: httpx.Client, cloud: LocalCloud) -> None:
    def made(**body: Any) -> tuple[str, httpx.Client]:
        answer = owner.post("/v1/keys", json={"name": "x", **body}).json()
        return answer["key"]["key_id"], with_token(cloud, answer["token"])

    strong_id, strong = made(scopes=["jobs:read"])
    ops_id, ops = made(scopes=["keys:write", "keys:read"], requests_per_minute=60)
    refused = ops.post(f"/v1/keys/{strong_id}/rotate", json={})
    assert code(refused) == (403, "request.forbidden") and "jobs:read" in refused.json()["detail"]
    assert strong.get("/v1/jobs").status_code == 200  # and nothing was changed
    quick_id, _ = made(scopes=["keys:read"])
    assert code(ops.post(f"/v1/keys/{quick_id}/rotate", json={})) == (403, "request.forbidden")
    assert ops.post(f"/v1/keys/{ops_id}/rotate", json={"grace_s": 60}).status_code == 200


def test_no_key_makes_one_that_may_be_used_more_often(owner: httpx.Client, cloud: LocalCloud) -> None:
    token = owner.post("/v1/keys", json={"name": "x", "scopes": ["keys:write"], "requests_per_minute": 60}).json()
    ops, body = with_token(cloud, token["token"]), {"name": "y", "scopes": ["keys:write"]}
    assert code(ops.post("/v1/keys", json={**body, "requests_per_minute": 61})) == (403, "request.forbidden")
    assert ops.post("/v1/keys", json=body).json()["key"]["requests_per_minute"] == 60
    assert ops.post("/v1/keys", json={**body, "requests_per_minute": 59}).json()["key"]["requests_per_minute"] == 59


@pytest.mark.parametrize("name", ["inbox", "inbox/default", "", "../acme", "a/b", ".", "x" * 64])
def test_what_could_be_taken_for_anothers_place_is_no_tenant(cloud: LocalCloud, name: str) -> None:
    with pytest.raises(PipelineError, match=r"request\.invalid: tenant: "):
        create_key(cloud.services, name, "x")


def test_keys_are_listed_in_pages(owner: httpx.Client) -> None:
    for number in range(5):
        owner.post("/v1/keys", json={"name": f"{number}"})
    names, cursor = [], None
    while True:
        page = owner.get("/v1/keys", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        names += [key["name"] for key in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(names) == ["0", "1", "2", "3", "4", "owner"]


def test_a_list_ends_where_its_last_page_does_and_its_cursor_is_of_no_other(owner: httpx.Client) -> None:
    first = owner.post("/v1/webhooks", json={"url": "http://127.0.0.1:1/", "is_enabled": False}).json()
    for path in ("/v1/keys", "/v1/audit", "/v1/webhooks"):  # each has one line: of the owner, of the endpoint
        page = owner.get(path, params={"limit": 1}).json()
        assert (len(page["data"]), page["next_cursor"]) == (1, None)
        assert code(owner.get(path, params={"cursor": "key_1"})) == (400, "request.invalid")
    webhook_id = first["webhook"]["webhook_id"]
    for _ in range(3):
        owner.post(f"/v1/webhooks/{webhook_id}/ping")
    log = f"/v1/webhooks/{webhook_id}/deliveries"
    cursor = owner.get(log, params={"limit": 2}).json()["next_cursor"]
    rest = owner.get(log, params={"limit": 1, "cursor": cursor}).json()
    assert (len(rest["data"]), rest["next_cursor"]) == (1, None)
    assert code(owner.get(log, params={"cursor": cursor, "state": "failed"})) == (400, "request.invalid")


def test_another_tenant_sees_nothing_of_this_one(cloud: LocalCloud, owner: httpx.Client) -> None:
    phone = Phone(cloud.url, cloud.owner_token)
    job_id = phone.send(WAV)
    key_id = owner.post("/v1/keys", json={"name": "app"}).json()["key"]["key_id"]
    evil = with_token(
        cloud,
        create_key(
            cloud.services,
            "evil",
            "x",
            scopes=("jobs:read", "jobs:write", "transcripts:read", "keys:read", "keys:write"),
        ).token,
    )
    for method, path in (
        ("GET", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
        ("GET", "/transcript"),
    ):
        assert code(evil.request(method, f"/v1/jobs/{job_id}{path}")) == (404, "job.not_found")
    assert code(evil.delete(f"/v1/keys/{key_id}")) == (404, "key.not_found")
    assert code(evil.post(f"/v1/keys/{key_id}/rotate", json={})) == (404, "key.not_found")
    assert key_id not in evil.get("/v1/keys").text
    assert phone.wait(job_id)["state"] == "completed"


def test_above_its_limit_a_key_waits(cloud: LocalCloud, owner: httpx.Client) -> None:
    made = owner.post("/v1/keys", json={"name": "slow", "requests_per_minute": 3}).json()
    slow = with_token(cloud, made["token"])
    answers = [slow.get("/v1/jobs/x") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers[:3]] == ["2", "1", "0"]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert code(answers[3]) == (429, "request.too_many")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert owner.get("/v1/keys").status_code == 200  # others go on


def test_every_answer_is_a_problem_or_a_result_and_carries_its_headers(cloud: LocalCloud, owner: httpx.Client) -> None:
    assert code(owner.get("/v1/nothing")) == (404, "request.no_such_path")
    refused = owner.put("/v1/jobs/x/cancel")
    assert code(refused) == (405, "request.no_such_method")
    assert refused.headers["allow"] == "POST"
    invalid = owner.post("/v1/jobs", json={"filename": 1, "options": {"num_speakers": 0}})
    assert code(invalid) == (400, "request.invalid")
    assert {error["where"] for error in invalid.json()["errors"]} == {"filename", "options.num_speakers"}
    for answer in (refused, invalid, owner.get("/v1/keys")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"].startswith("req_")


def test_a_defect_of_ours_is_a_problem_and_the_connection_goes_on(
    cloud: LocalCloud, owner: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_job_id: str) -> None:
        raise ZeroDivisionError("secret of ours")

    with monkeypatch.context() as patched:
        patched.setattr(cloud.jobs, "get", broken)
        answer = owner.get("/v1/jobs/x")
    assert code(answer) == (500, "internal")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert owner.get("/v1/keys").status_code == 200


def test_keys_by_command(cloud: LocalCloud, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "cloud")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return earwitness("keys", *arguments, *data, timeout_s=30)

    made = run("create", "ci [bold]", "--tenant", "acme", "--scopes", "jobs:read")
    token = made.stdout.strip()
    assert code(with_token(cloud, token).get("/v1/jobs/x")) == (404, "job.not_found")
    listed = run("list", "--tenant", "acme").stdout
    assert "ci [bold]" in listed and "good" in listed and token not in listed
    key_id = listed.splitlines()[1].split()[0]
    rotated = run("rotate", key_id, "--tenant", "acme", "--grace", "60").stdout.strip()
    assert rotated != token
    assert run("revoke", key_id).returncode == 1  # of another tenant
    assert run("revoke", key_id, "--tenant", "acme").returncode == 0
    assert "revoked" in run("list", "--tenant", "acme").stdout
    assert run("create", "x", "--scopes", "all").stderr.startswith("error: request.invalid")
    assert run("create", "x", "--tenant", "inbox/acme").stderr.startswith("error: request.invalid: tenant: ")
    done = [line.action for line in read_audit(cloud.services, "acme") if (line.actor, line.subject) == (OWNER, key_id)]
    assert done == ["key.revoked", "key.rotated", "key.created"]


def test_where_the_platform_checks_callers_no_key_is_asked_for(tmp_path: Path) -> None:
    with standin_cloud(tmp_path, api_access="platform") as cloud:
        phone = Phone(cloud.url)
        assert phone.wait(phone.send(WAV))["state"] == "completed"
        assert phone.client.get("/v1/keys").status_code == 200
