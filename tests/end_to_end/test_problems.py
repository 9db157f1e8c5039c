"""What a caller is told of a request that cannot be: which part of it, and in words that help."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.cloud import LocalCloud
from tests.clouds import Phone, standin_cloud

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path_factory.mktemp("problems"), outbound_allow="10.9.9.0/24") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"options": {"language": "english"}}, "options.language"),
        ({"options": {"language": "de", "model": "tiny.en"}}, "options.language"),
        ({"options": {"model": "gpt-9"}}, "options.model"),
        ({"options": {"stages": ["diarise"]}}, "options.stages"),
        ({"options": {"max_speakers": "4"}}, "options.max_speakers"),
        ({"file_name": "x"}, "file_name"),
        ({"source_url": "http://10.0.0.1/x"}, "source_url"),
        ({"source_uri": "gs://elsewhere/x"}, "source_uri"),
        ({"callback": {"url": "http://169.254.169.254/"}}, "callback.url"),
        ({"size_bytes": 10**12}, "size_bytes"),
        ({"metadata": {"query": 5}}, "metadata.query"),
        ({"metadata": {"body": 5}}, "metadata.body"),
    ],
)
def test_a_problem_names_the_field(phone: Phone, body: dict[str, Any], where: str) -> None:
    answer = phone.client.post("/v1/jobs", json=body).json()
    assert answer["where"] == where and [error["where"] for error in answer.get("errors", ())] in ([], [where])
    assert answer["error"]["param"] == where.rpartition(".")[2]
    batch = phone.client.post("/v1/jobs/batch", json={"jobs": [body]}).json()
    told = batch if "where" in batch else batch["results"][0]["problem"]
    assert told["where"].removeprefix("jobs.0.") == where


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/jobs?cursor=abc", "cursor"),
        ("/v1/jobs?sate=done", "sate"),
        ("/v1/jobs?metadata=x", "metadata"),
        ("/v1/jobs?limit=1000", "limit"),
        ("/v1/usage?from=2026-12-01&to=2026-11-01", "from"),
    ],
)
def test_a_problem_names_the_parameter(phone: Phone, path: str, where: str) -> None:
    assert phone.client.get(path).json()["where"] == where


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/keys", {"name": "x", "scopes": ["admin"]}, "scopes"),
        ("/v1/webhooks", {"url": "http://169.254.169.254/"}, "url"),
        ("/v1/webhooks", {"url": "https://example.com", "events": ["job.done"]}, "events"),
        ("/v1/webhooks", {"url": "https://example.com", "headers": {"host": "x"}}, "headers"),
    ],
)
def test_what_is_refused_by_a_rule_names_its_field_too(phone: Phone, path: str, body: Any, where: str) -> None:
    answer = phone.client.post(path, json=body).json()
    # What the reference calls valid is refused by a rule, and not as what is not as the reference says.
    assert (answer["where"], answer.get("errors")) == (where, None)


@pytest.mark.parametrize(
    ("content", "headers", "said"),
    [
        (b'{"filename": ', JSON, "body: It is not JSON: Expecting value (character 13)."),
        (b"{}", FORM, "body: It is read as JSON with the header content-type: application/json only."),
        (
            b'{"filename": "\xff"}',
            JSON,
            "The body cannot be read: it is not UTF-8, is nested too deeply, or breaks off.",
        ),
        (
            b'{"filename": "\\ud800"}',
            JSON,
            "body: It is not JSON: unexpected end of hex escape at line 1 column 21.",
        ),
        (b"[" * 100_000, JSON, "The body cannot be read: it is not UTF-8, is nested too deeply, or breaks off."),
    ],
)
def test_a_body_that_cannot_be_read_is_told_why(
    phone: Phone, content: bytes, headers: dict[str, str], said: str
) -> None:
    answer = phone.client.post("/v1/jobs", content=content, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (400, said)


def test_nobody_has_to_read_a_regular_expression(phone: Phone) -> None:
    body = {
        "content_type": "audio",
        "metadata": {"_x": "y"},
        "source_uri": "s3://x",
        "options": {"language": "English", "hotwords": ["a\nb"], "stages": ["Transcribe"]},
    }
    errors = phone.client.post("/v1/jobs", json=body, headers={"idempotency-key": "a b"}).json()["errors"]
    assert len(errors) >= 6
    errors += phone.client.patch("/v1/jobs/x/transcript/speakers/y", json={"name": " a"}).json()["errors"]
    errors += phone.client.get("/v1/jobs/x/transcript/versions?cursor=x").json()["errors"]
    assert not [error for error in errors if "pattern" in error["message"] or "^" in error["message"]]


def test_an_answer_that_is_repeated_is_the_same_to_the_byte(phone: Phone) -> None:
    first, second = (
        phone.client.post("/v1/keys", json={"name": "Zoë"}, headers={"idempotency-key": "bytes"}) for _ in range(2)
    )
    assert second.headers["idempotency-replayed"] == "true"
    assert first.content == second.content
