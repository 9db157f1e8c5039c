"""Requests with an idempotency key over HTTP: done once, whoever repeats them, and wherever."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from shared.keys import SCOPES
from tests.api_process import TOKEN
from tests.clouds import Phone, standin_cloud
from tests.media import encode, tone

AT_ONCE = 50
WAV = encode("wav", tone(0.5))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


@pytest.fixture
def post(phone: Phone, request: pytest.FixtureRequest) -> Callable[..., httpx.Response]:
    """Sends a request under a key of this test's own."""

    def send(path: str = "/v1/jobs", body: Any = None, *, key: str = "k", client: httpx.Client | None = None) -> Any:
        headers = {"idempotency-key": f"{request.node.name}-{key}".replace(" ", "_")}
        return (client or phone.client).post(path, json={} if body is None else body, headers=headers)

    return send


Post = Callable[..., httpx.Response]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def job_ids(phone: Phone, name: str) -> list[str]:
    page = phone.client.get("/v1/jobs", params={"owner_id": name, "limit": 100}).json()
    return [job["job_id"] for job in page["data"]]


def test_every_post_of_the_api_takes_a_key(phone: Phone) -> None:
    paths = phone.client.get("/openapi.json").json()["paths"]
    posts = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    assert len(posts) > 5
    for path, operation in posts.items():
        assert "Idempotency-Key" in [row["name"] for row in operation.get("parameters", ())], path
        assert "409" in operation["responses"], path


def test_the_same_request_has_the_same_answer(post: Post, phone: Phone) -> None:
    body = {"owner_id": "same", "metadata": {"b": "2", "a": "1"}}
    first, again = post(body=body), post(body={"metadata": {"a": "1", "b": "2"}, "owner_id": "same"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert first.json()["job"] == again.json()["job"]
    assert again.headers["content-type"] == "application/json"
    assert job_ids(phone, "same") == [first.json()["job"]["job_id"]]
    assert refusal(post(body={**body, "filename": "x"})) == (409, "idempotency.mismatch")
    assert refusal(post("/v1/jobs/batch", {"jobs": [body]})) == (409, "idempotency.mismatch")
    assert len(job_ids(phone, "same")) == 1


def test_an_upload_is_signed_again_while_the_job_waits_for_it(post: Post, phone: Phone) -> None:
    first = post().json()
    time.sleep(1.0 - time.time() % 1.0)  # a signature counts in seconds
    again = post().json()
    assert again["upload"]["url"] != first["upload"]["url"]
    assert phone.put(again["upload"], WAV).status_code == 200
    job_id = first["job"]["job_id"]
    assert phone.wait(job_id)["state"] == "completed"
    assert post().json()["upload"] == first["upload"]
    assert phone.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert post().json() == first


def test_what_is_refused_is_not_kept(post: Post, phone: Phone) -> None:
    assert refusal(post(body={"options": {"model": "nosuch"}})) == (400, "model.unknown")
    assert refusal(post(body={"size_bytes": "1"})) == (400, "request.invalid")
    assert post(body={"filename": "other"}).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "é".encode(), "x" * 256])
def test_a_key_of_another_form_is_refused(phone: Phone, key: str) -> None:
    answer = phone.client.post("/v1/jobs", json={}, headers={"idempotency-key": key})
    assert refusal(answer) == (400, "request.invalid")


def test_a_quoted_key_is_the_bare_one(phone: Phone) -> None:
    answers = [
        phone.client.post("/v1/jobs", json={}, headers={"idempotency-key": key}).json()["job"]["job_id"]
        for key in ("quoted-1", '"quoted-1"')
    ]
    assert answers[0] == answers[1]


def test_a_token_is_told_again_to_its_maker_alone_and_lies_nowhere(post: Post, cloud: LocalCloud) -> None:
    first, again = (post("/v1/keys", {"name": "app", "scopes": ["jobs:read"]}) for _ in range(2))
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    other = Phone(cloud.url, create_key(cloud.services, "default", "other", scopes=tuple(SCOPES)).token).client
    answer = post("/v1/keys", {"name": "app", "scopes": ["jobs:read"]}, client=other)
    assert refusal(answer) == (409, "idempotency.mismatch")
    rotated = [post(f"/v1/keys/{first.json()['key']['key_id']}/rotate", key="r").json()["token"] for _ in range(2)]
    assert rotated[0] == rotated[1]
    files = [path.read_bytes() for path in cloud.settings.data_dir.glob("state.sqlite*")]
    for token in (first.json()["token"], rotated[0]):
        assert not any(token.encode() in content for content in files)


def test_another_tenants_key_of_the_same_name_is_another(post: Post, cloud: LocalCloud) -> None:
    evil = Phone(cloud.url, create_key(cloud.services, "evil", "x").token).client
    mine, theirs = post(body={"filename": "mine"}), post(body={"filename": "theirs"}, client=evil)
    assert mine.json()["job"]["job_id"] != theirs.json()["job"]["job_id"]
    assert theirs.json()["job"]["filename"] == "theirs"


def test_canceling_and_trying_again_are_done_once(post: Post, phone: Phone) -> None:
    job_id = phone.create()["job"]["job_id"]
    canceled = [post(f"/v1/jobs/{job_id}/cancel", key="c") for _ in range(2)]
    assert [answer.json()["state"] for answer in canceled] == ["canceled"] * 2
    assert canceled[0].json() == canceled[1].json()
    assert refusal(post(f"/v1/jobs/{job_id}/retry", key="r")) == (409, "job.not_retryable")
    assert refusal(post("/v1/jobs/job_x/cancel", key="c")) == (409, "idempotency.mismatch")


def test_fifty_at_once_make_one_job(post: Post, phone: Phone, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: post(body={"owner_id": "fifty"}), range(AT_ONCE)))
    took_s = time.monotonic() - began
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["job"]["job_id"] for answer in answers} == set(job_ids(phone, "fifty"))
    assert len(job_ids(phone, "fifty")) == 1
    replayed = sum("idempotency-replayed" in answer.headers for answer in answers)
    assert replayed == AT_ONCE - 1
    tell(f"{AT_ONCE} identical POSTs at once: 1 job, {replayed} replays, {took_s:.2f} s")


@contextmanager
def api_process(folder: Path) -> Iterator[str]:
    """The address of the API in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.api_process", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate("", timeout=20)


def test_fifty_at_once_at_two_processes_make_one_job(tmp_path: Path, tell: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        clients = [Phone(stack.enter_context(api_process(tmp_path)), TOKEN).client for _ in range(2)]

        def send(number: int) -> httpx.Response:
            return clients[number % 2].post("/v1/jobs", json={"filename": "x"}, headers={"idempotency-key": "two"})

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(send, range(AT_ONCE)))
        assert {answer.status_code for answer in answers} == {201}
        ids = {answer.json()["job"]["job_id"] for answer in answers}
        assert {job["job_id"] for job in clients[0].get("/v1/jobs").json()["data"]} == ids and len(ids) == 1
        tell(f"{AT_ONCE} identical POSTs at once at two processes: {len(ids)} job")
