"""Pub/Sub's own: what is sent, how much at once, and what its failures become.

The emulator takes what the service refuses, so the rules of the service are played here by a server of its API.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import grpc
import pytest
from google.pubsub_v1.types import PublishRequest, PublishResponse

from infra.gcp.event_bus import PubsubEventBus, connect
from infra.local.event_queue import pubsub_delivery
from shared.errors import ErrorInfo, PipelineError
from shared.events import Event, JobFailed, envelope
from tests.emulators import Emulator, free_port

Failure = Callable[[grpc.ServicerContext], None]


class Service(grpc.GenericRpcHandler):
    """``Publish`` as the service has it: one ordering key, 1000 messages and 10 MB a request.

    Attributes:
        requests: Those that were accepted.
        failures: What goes wrong with the next requests, before they are looked at.
    """

    def __init__(self) -> None:
        self.requests: list[PublishRequest] = []
        self.failures: list[Failure] = []
        self.tries = 0

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if call.method != "/google.pubsub.v1.Publisher/Publish":
            return None
        return grpc.unary_unary_rpc_method_handler(self._publish, PublishRequest.deserialize, PublishResponse.serialize)

    def _publish(self, request: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
        self.tries += 1
        if self.failures:
            self.failures.pop(0)(context)
        if len({message.ordering_key for message in request.messages}) != 1:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "all messages must have the same ordering key")
        if len(request.messages) > 1000 or PublishRequest.pb(request).ByteSize() > 10_000_000:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too many or too large")
        self.requests.append(request)
        return PublishResponse(message_ids=[str(index) for index in range(len(request.messages))])

    @property
    def events(self) -> list[Event]:
        return [Event.from_json(message.data) for request in self.requests for message in request.messages]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def bus(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubsubEventBus]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[service], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    yield connect("project", "events")
    server.stop(None).wait(10)


def event(job_id: str, revision: int, message: str = "why") -> Event:
    fact = JobFailed(error=ErrorInfo(code="internal", message=message))
    return envelope(fact, tenant_id="t", job_id=job_id, revision=revision, now=datetime(2026, 1, 1, tzinfo=UTC))


def fail(status: grpc.StatusCode) -> Failure:
    return lambda context: context.abort(status, "as the test says")


def refusal(bus: PubsubEventBus, *events: Event) -> str:
    with pytest.raises(PipelineError) as refused:
        bus.publish(events)
    return refused.value.code


def test_each_job_has_requests_of_its_own_in_order(bus: PubsubEventBus, service: Service) -> None:
    bus.publish([event("a", 1), event("b", 1), event("a", 2), event("c", 1), event("b", 2)])
    assert [[message.ordering_key for message in request.messages] for request in service.requests] == [
        ["a", "a"],
        ["b", "b"],
        ["c"],
    ]
    assert [one.id.rsplit("/", 1)[0] for one in service.events] == ["a/1", "a/2", "b/1", "b/2", "c/1"]
    assert {request.topic for request in service.requests} == {"projects/project/topics/events"}


def test_a_message_says_what_the_local_queue_says(bus: PubsubEventBus, service: Service) -> None:
    bus.publish([event("job_ünï", 1)])
    (sent,) = service.requests[0].messages
    _, body = pubsub_delivery(event("job_ünï", 1))
    local = json.loads(body)["message"]
    assert dict(sent.attributes) == local["attributes"]
    assert sent.ordering_key == local["orderingKey"]
    assert sent.data == base64.b64decode(local["data"])


def test_requests_stay_within_the_limits_of_the_service(bus: PubsubEventBus, service: Service) -> None:
    many = [event("many", revision) for revision in range(1, 2502)]
    large = [event("large", revision, "x" * 4_000_000) for revision in range(1, 6)]
    bus.publish([*many, *large])
    assert service.events == [*many, *large]
    assert [len(request.messages) for request in service.requests] == [1000, 1000, 501, 2, 2, 1]


def test_an_event_that_no_request_can_hold_is_told_and_not_tried_for_ever(
    bus: PubsubEventBus, service: Service
) -> None:
    assert refusal(bus, event("a", 1, "x" * 10_000_000)) == "internal"
    assert service.tries == 1


def test_a_service_that_stumbles_is_tried_again(bus: PubsubEventBus, service: Service) -> None:
    service.failures = [fail(grpc.StatusCode.UNAVAILABLE), fail(grpc.StatusCode.INTERNAL)]
    bus.publish([event("a", 1)])
    assert service.events == [event("a", 1)]


def test_after_a_failure_no_job_has_a_gap_and_nothing_later_went_out(bus: PubsubEventBus, service: Service) -> None:
    first = [event("a", revision) for revision in range(1, 1501)]
    service.failures = [lambda _: None, fail(grpc.StatusCode.PERMISSION_DENIED)]
    assert refusal(bus, *first, event("b", 1)) == "service.unavailable"
    assert service.events == first[:1000]
    bus.publish([*first, event("b", 1)])
    assert service.events[1000:] == [*first, event("b", 1)]


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_every_status_is_a_typed_error_within_seconds(
    bus: PubsubEventBus, service: Service, status: grpc.StatusCode
) -> None:
    ours = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "ALREADY_EXISTS", "UNIMPLEMENTED"}
    service.failures = [fail(status)] * 100
    began = time.monotonic()
    code = refusal(bus, event("a", 1))
    assert time.monotonic() - began < 6.0
    assert code == ("internal" if status.name in ours else "service.unavailable")


def test_a_service_that_says_nothing_is_known_in_seconds(bus: PubsubEventBus, service: Service) -> None:
    service.failures = [lambda context: time.sleep(context.time_remaining() + 0.5)]
    began = time.monotonic()
    assert refusal(bus, event("a", 1)) == "service.unavailable"
    assert time.monotonic() - began < 6.0


def test_a_closed_port_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    assert refusal(connect("project", "events"), event("a", 1), event("b", 1)) == "service.unavailable"
    assert time.monotonic() - began < 6.0


def test_a_topic_that_is_missing_is_unavailable(pubsub: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
    assert refusal(connect("test-project", "no-such-topic"), event("a", 1)) == "service.unavailable"


def test_a_process_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: str) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/none.json")
    with pytest.raises(PipelineError) as refused:
        connect("project", "events")
    assert refused.value.code == "service.unavailable"
