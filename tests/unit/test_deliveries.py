"""What functions take: CloudEvents in both modes and bare pushes of Pub/Sub, from whom they should come."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework.aio
import httpx
import pytest
from starlette.testclient import TestClient

from infra import wiring
from infra.local.event_queue import pubsub_delivery
from infra.local.notifications import finalized
from infra.pipeline.intake import create_job
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.jobs import JobState
from shared.media import ObjectInfo, ObjectRef
from shared.options import JobOptions
from tests.services import CALLER

FUNCTIONS = Path(__file__).parents[2] / "functions"


@pytest.fixture
def installed(services: GivenServices) -> Iterator[GivenServices]:
    wiring.install(services)
    yield services
    wiring.install(None)


def function(name: str) -> TestClient:
    app = functions_framework.aio.create_asgi_app(target=name, source=str(FUNCTIONS / name / "main.py"))
    return TestClient(app, headers={"authorization": CALLER})


def upload(services: GivenServices) -> ObjectInfo:
    job = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions(diarize=False)).job
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{job.job_id}/media")
    return services.objects.write(ref, b"RIFF", content_type="audio/wav")


def structured(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    """A CloudEvent in structured mode, from one in binary mode."""
    attributes = {name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")}
    event = {**attributes, "datacontenttype": "application/json", "data": json.loads(body)}
    return {"content-type": "application/cloudevents+json"}, json.dumps(event).encode()


def bare_push(data: bytes, **attributes: str) -> tuple[dict[str, str], bytes]:
    """What a push subscription of Pub/Sub sends."""
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
    envelope = {"message": message, "subscription": "projects/p/subscriptions/s"}
    return {"content-type": "application/json"}, json.dumps(envelope).encode()


def object_in(form: str, info: ObjectInfo) -> tuple[dict[str, str], bytes]:
    headers, resource = finalized(info)
    if form == "structured":
        return structured(headers, resource)
    if form == "notification":
        return bare_push(resource, eventType="OBJECT_FINALIZE", bucketId=info.bucket, objectId=info.name)
    return headers, resource


@pytest.mark.parametrize("form", ["binary", "structured", "notification"])
def test_an_upload_is_taken_in_every_form_it_is_told(installed: GivenServices, form: str) -> None:
    info = upload(installed)
    headers, body = object_in(form, info)
    assert function("on_upload").post("/", content=body, headers=headers).status_code == 200
    assert installed.jobs.get(info.name.split("/")[1]).state is JobState.RUNNING


def test_a_notification_of_something_else_is_acknowledged_and_changes_nothing(installed: GivenServices) -> None:
    info = upload(installed)
    headers, body = bare_push(finalized(info)[1], eventType="OBJECT_DELETE")
    assert function("on_upload").post("/", content=body, headers=headers).status_code == 200
    assert installed.jobs.get(info.name.split("/")[1]).state is JobState.AWAITING_UPLOAD


@pytest.mark.parametrize("form", ["binary", "structured", "push"])
def test_an_event_of_the_topic_is_taken_in_every_form(installed: GivenServices, form: str) -> None:
    info = upload(installed)
    headers, body = object_in("binary", info)
    function("on_upload").post("/", content=body, headers=headers)
    job_id = info.name.split("/")[1]
    (event,) = [event for event in installed.jobs.history(job_id) if event.type == "media.validated"]
    headers, body = pubsub_delivery(event)
    if form == "structured":
        headers, body = structured(headers, body)
    elif form == "push":
        headers, body = bare_push(event.to_json().encode(), type=event.type)
    assert function("orchestrate").post("/", content=body, headers=headers).status_code == 200
    assert installed.jobs.get(job_id).stages["transcribe"].state == "dispatched"


@pytest.mark.parametrize("name", ["on_upload", "orchestrate"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"message": {"data": "%%%"}}', b'{"message": {"data": "bnVsbA=="}}', b'{"a": 1}'],
)
def test_what_is_no_event_is_refused_so_that_it_becomes_a_dead_letter(
    installed: GivenServices, name: str, body: bytes
) -> None:
    for headers in ({}, {"ce-type": "x"}, {"content-type": "application/cloudevents+json"}):
        answer = function(name).post("/", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid")


@pytest.mark.parametrize("name", ["on_upload", "orchestrate", "sweep"])
@pytest.mark.parametrize("authorization", ["", "Bearer of something else", "Basic x"])
def test_a_stranger_is_refused(installed: GivenServices, name: str, authorization: str) -> None:
    answer = function(name).post("/", content=b"{}", headers={"authorization": authorization})
    assert (answer.status_code, answer.json()["code"]) == (401, "request.unauthorized")


@pytest.mark.parametrize("name", ["on_upload", "orchestrate"])
def test_a_body_without_end_is_refused(installed: GivenServices, name: str) -> None:
    answer = function(name).post("/", content=b"x" * 1_100_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")


def test_a_delivery_that_fails_for_now_is_not_acknowledged(installed: GivenServices, monkeypatch: Any) -> None:
    info = upload(installed)
    headers, body = object_in("binary", info)
    monkeypatch.setattr(type(installed.prober), "broken", True)
    answer: httpx.Response = function("on_upload").post("/", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (503, PipelineError("service.unavailable").info.model_dump())
    monkeypatch.undo()
    assert function("on_upload").post("/", content=body, headers=headers).status_code == 200
    assert installed.jobs.get(info.name.split("/")[1]).state is JobState.RUNNING
