"""The OpenAPI document: complete, true to its own examples, and changed only in ways that break no client."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from infra.api.app import create_app
from infra.api.jobs import CreateJob
from infra.api.openapi import TAGS, operations
from infra.api.problems import MEDIA_TYPE
from shared.errors import CATALOGUE
from tests.clouds import Phone, standin_cloud
from tests.contract.openapi_changes import openapi_incompatibilities

DOCUMENT = create_app().openapi()
OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in operations(DOCUMENT)}
Change = Callable[[Any], None]


def validator(schema: Any) -> Draft202012Validator:
    resource = DRAFT202012.create_resource({"components": DOCUMENT["components"]})
    registry: Registry[Any] = Registry().with_resource("urn:api", resource)
    text = json.dumps(schema).replace('"#/components/', '"urn:api#/components/')
    return Draft202012Validator(json.loads(text), registry=registry)


# --- complete -----------------------------------------------------------------------------------------------------


def test_operations_have_names_of_their_own() -> None:
    assert len(OPERATIONS) == len(list(operations(DOCUMENT)))
    assert all(name.replace("_", "").isalnum() and name.islower() for name in OPERATIONS)


def test_no_schema_has_a_name_that_the_framework_made_up() -> None:
    names = set(DOCUMENT["components"]["schemas"])
    assert not {name for name in names if "__" in name or "-" in name or name.endswith(("Input", "Output"))}
    assert not names & {"HTTPValidationError", "ValidationError"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_described_and_its_errors_are_problems(name: str) -> None:
    path, _, operation = OPERATIONS[name]
    assert operation["description"] and operation["summary"]
    assert operation["tags"] and set(operation["tags"]) <= TAGS.keys()
    if operation.get("security"):
        assert {"401", "403", "429"} <= operation["responses"].keys()
    if "{" in path:
        assert "404" in operation["responses"]
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "$ref" in response:
            shared = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
            assert list(shared["content"]) == [MEDIA_TYPE]


@pytest.mark.parametrize("name", OPERATIONS)
def test_its_examples_are_valid(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    bodies = [operation.get("requestBody", {})]
    bodies += [response for status, response in operation["responses"].items() if status.startswith("2")]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if media_type == "application/json" and content.get("schema"):
                assert "example" in content or "examples" in content, f"{name} has no example of {media_type}"
                shown = [content["example"]] if "example" in content else []
                shown += [row["value"] for row in content.get("examples", {}).values()]
                for example in shown:
                    validator(content["schema"]).validate(example)


def test_every_error_code_is_an_example_of_its_status() -> None:
    shown = {code for response in DOCUMENT["components"]["responses"].values() for code in _codes(response)}
    used = {int(name.removeprefix("Problem")) for name in DOCUMENT["components"]["responses"]}
    assert {spec.code for spec in CATALOGUE.values() if spec.http_status in used} <= shown


def _codes(response: Any) -> list[str]:
    for content in response["content"].values():
        for example in content["examples"].values():
            validator(content["schema"]).validate(example["value"])
    return [code for content in response["content"].values() for code in content["examples"]]


# --- served -------------------------------------------------------------------------------------------------------


def test_pages_for_people_need_nothing_from_elsewhere(tmp_path: Path) -> None:
    with standin_cloud(tmp_path) as cloud:
        phone = Phone(cloud.url)
        document = phone.client.get("/openapi.json").json()
        assert document["servers"][0]["url"] == cloud.url
        assert {**document, "servers": DOCUMENT["servers"]} == json.loads(json.dumps(DOCUMENT))
        docs, errors = phone.client.get("/docs"), phone.client.get("/errors")
        for page in (docs, errors):
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert "<script" not in page.text and "src=" not in page.text and "<link" not in page.text
        assert all(f'id="{name}"' in docs.text for name in OPERATIONS)
        assert all(f'<tr id="{code}"' in errors.text for code in CATALOGUE)
        assert phone.client.get("/").headers["location"] == "docs"
        refused = phone.client.get("/v1/nothing").json()
        page, anchor = refused["type"].split("#")
        assert page == f"{cloud.url}/errors" and f'id="{anchor}"' in httpx.get(page, trust_env=False).text


def test_web_pages_of_listed_origins_may_call_and_no_others(tmp_path: Path) -> None:
    asked = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    with standin_cloud(tmp_path / "none") as cloud:
        assert "access-control-allow-origin" not in Phone(cloud.url).client.options("/v1/jobs", headers=asked).headers
    with standin_cloud(tmp_path / "some", cors_origins=("https://app.example.com",)) as cloud:
        client = Phone(cloud.url, cloud.owner_token).client
        asked["access-control-request-headers"] = "authorization, idempotency-key"
        preflight = client.options("/v1/jobs", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
        other = client.options("/v1/jobs", headers={**asked, "origin": "https://evil.example.com"})
        assert other.status_code == 400 and "access-control-allow-origin" not in other.headers
        answer = client.get("/v1/jobs/x", headers={"origin": "https://app.example.com"})
        exposed = answer.headers["access-control-expose-headers"]
        assert {"ratelimit", "etag", "location", "x-request-id", "retry-after"} <= set(exposed.split(", "))


def test_types_are_taken_as_the_reference_says_and_parameters_nobody_reads_are_refused(tmp_path: Path) -> None:
    with standin_cloud(tmp_path) as cloud:
        client = Phone(cloud.url, cloud.owner_token).client

        def named(**body: Any) -> int:
            return client.post("/v1/keys", json={"name": "x", **body}).status_code

        assert named(requests_per_minute=5.0) == 201  # JSON has one kind of number
        for wrong in (True, "5", 5.5, 2**60, -1):
            assert named(requests_per_minute=wrong) == 400
        assert client.get("/v1/keys", params={"limt": 5}).json()["detail"] == "limt: there is no such parameter here."
        contradiction = {"options": {"min_speakers": 3, "max_speakers": 2}}
        refused = client.post("/v1/jobs", json=contradiction)
        assert (refused.status_code, refused.json()["code"]) == (422, "request.contradictory")


# --- compatible ---------------------------------------------------------------------------------------------------


def operation(document: Any, name: str) -> Any:
    return next(found for _, _, found in operations(document) if found["operationId"] == name)


def schema(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]


def path_removed(document: Any) -> None:
    del document["paths"]["/v1/keys/{key_id}"]


def method_removed(document: Any) -> None:
    del document["paths"]["/v1/keys"]["get"]


def operation_renamed(document: Any) -> None:
    operation(document, "keys_create")["operationId"] = "keys_make"


def parameter_removed(document: Any) -> None:
    del operation(document, "keys_page")["parameters"][0]


def parameter_required(document: Any) -> None:
    operation(document, "keys_page")["parameters"][0]["required"] = True


def parameter_narrowed(document: Any) -> None:
    limit = next(row for row in operation(document, "keys_page")["parameters"] if row["name"] == "limit")
    limit["schema"]["maximum"] = 50


def field_required(document: Any) -> None:
    schema(document, "CreateKey")["required"].append("scopes")


def field_not_taken(document: Any) -> None:
    del schema(document, "CreateKey")["properties"]["scopes"]


def field_shortened(document: Any) -> None:
    schema(document, "CreateKey")["properties"]["name"]["maxLength"] = 10


def taken_type_changed(document: Any) -> None:
    schema(document, "CreateKey")["properties"]["name"]["type"] = "integer"


def taken_values_narrowed(document: Any) -> None:
    schema(document, "CreateJob")["properties"]["upload"]["enum"] = ["put"]


def null_not_taken(document: Any) -> None:
    field = schema(document, "CreateKey")["properties"]["requests_per_minute"]
    field["anyOf"] = field["anyOf"][:1]


def answer_field_removed(document: Any) -> None:
    del schema(document, "KeyView")["properties"]["prefix"]


def answer_field_optional(document: Any) -> None:
    schema(document, "KeyView")["required"].remove("prefix")


def answer_type_changed(document: Any) -> None:
    schema(document, "KeyView")["properties"]["prefix"]["type"] = "integer"


def answer_may_be_null(document: Any) -> None:
    properties = schema(document, "KeyView")["properties"]
    properties["name"] = {"anyOf": [properties["name"], {"type": "null"}]}


def status_changed(document: Any) -> None:
    responses = operation(document, "keys_create")["responses"]
    responses["200"] = responses.pop("201")


def header_removed(document: Any) -> None:
    del operation(document, "openai_transcriptions")["responses"]["200"]["headers"]["x-job-id"]


def media_type_removed(document: Any) -> None:
    del operation(document, "openai_transcriptions")["responses"]["200"]["content"]["text/vtt"]


BREAKING: dict[Change, str] = {
    path_removed: "/v1/keys/{key_id}: path removed",
    method_removed: "GET /v1/keys: method removed",
    operation_renamed: "POST /v1/keys: operation renamed to keys_make",
    parameter_removed: "GET /v1/keys: parameter ",
    parameter_required: "required now",
    parameter_narrowed: "GET /v1/keys: parameter limit: maximum lowered",
    field_required: "POST /v1/keys: body.scopes: required now",
    field_not_taken: "POST /v1/keys: body.scopes: removed",
    field_shortened: "POST /v1/keys: body.name: maxLength lowered",
    taken_type_changed: "POST /v1/keys: body.name: type changed",
    taken_values_narrowed: "POST /v1/jobs: body.upload: values narrowed",
    null_not_taken: "POST /v1/keys: body.requests_per_minute: an alternative removed",
    answer_field_removed: "POST /v1/keys: answer.key.prefix: removed",
    answer_field_optional: "POST /v1/keys: answer.key.prefix: optional now",
    answer_type_changed: "POST /v1/keys: answer.key.prefix: type changed",
    answer_may_be_null: "POST /v1/keys: answer.key.name: an alternative added",
    status_changed: "POST /v1/keys: answer 201 removed",
    header_removed: "POST /v1/audio/transcriptions: answer 200: header x-job-id removed",
    media_type_removed: "POST /v1/audio/transcriptions: answer 200: text/vtt removed",
}


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__)
def test_a_change_that_breaks_clients_is_named(change: Change) -> None:
    after = copy.deepcopy(DOCUMENT)
    change(after)
    found = openapi_incompatibilities(DOCUMENT, after)
    assert any(BREAKING[change] in problem for problem in found), found


def test_a_key_that_is_needed_now_is_named() -> None:
    open_before = copy.deepcopy(DOCUMENT)
    del operation(open_before, "keys_create")["security"]
    assert openapi_incompatibilities(open_before, DOCUMENT) == ["POST /v1/keys: security added"]


def more_of_everything(document: Any) -> None:
    document["paths"]["/v2/keys"] = document["paths"]["/v1/keys"]
    schema(document, "CreateKey")["properties"]["colour"] = {"type": "string"}
    schema(document, "KeyView")["properties"]["colour"] = {"type": "string"}
    schema(document, "CreateKey")["properties"]["name"]["maxLength"] = 1000
    schema(document, "CreateJob")["properties"]["upload"]["enum"].append("tus")
    schema(document, "JobState")["enum"].append("paused")
    operation(document, "keys_page")["parameters"].append(
        {"in": "query", "name": "name", "required": False, "schema": {"type": "string"}}
    )
    operation(document, "keys_page")["description"] = "Said otherwise."
    limit = next(row for row in operation(document, "keys_page")["parameters"] if row["name"] == "limit")
    limit["schema"] |= {"maximum": 500, "type": "number"}


def test_what_only_adds_breaks_nothing() -> None:
    after = copy.deepcopy(DOCUMENT)
    more_of_everything(after)
    assert openapi_incompatibilities(DOCUMENT, after) == []
    assert openapi_incompatibilities(DOCUMENT, DOCUMENT) == []
    assert openapi_incompatibilities(after, DOCUMENT)


def test_a_body_is_described_once_however_many_applications_there_are() -> None:
    """Its schema is made stricter in place, and pydantic keeps it for the next that asks."""
    sizes = {len(repr(TypeAdapter(Annotated[CreateJob, FieldInfo()]).core_schema)) for _ in range(3)}
    assert len(sizes) == 1
