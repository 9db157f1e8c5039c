"""What every queue of webhook deliveries promises: at least once, a lane in its order, no lane waiting for another."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from infra.cloud_events import delivery_id
from infra.deliveries import Received
from infra.gcp.delivery_queue import connect
from infra.local.database import Database
from infra.local.event_queue import EventQueue, Message
from shared.errors import PipelineError
from shared.ports import DeliveryQueue
from shared.webhooks import LANES, Delivery, Endpoint, Secret, new_delivery
from tests.clouds import wait_for
from tests.emulators import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = "test-project"


@dataclass
class Backend:
    """A queue, and a subscriber of it: ``take`` gives ids of deliveries and what acknowledges each."""

    queue: DeliveryQueue
    take: Callable[[], Sequence[tuple[str, Callable[[], None]]]]


@contextmanager
def local(request: pytest.FixtureRequest) -> Iterator[Backend]:
    folder: Path = request.getfixturevalue("tmp_path")
    database = Database(folder / "state.sqlite")
    queue = EventQueue(database, {})

    def taken(message: Message) -> tuple[str, Callable[[], None]]:
        return delivery_id(Received(json.loads(message.body))) or "", lambda: queue.acknowledge(message)

    yield Backend(queue, lambda: [taken(message) for message in queue.lease(1000)])
    database.close()


@contextmanager
def google(request: pytest.FixtureRequest) -> Iterator[Backend]:
    host, name = request.getfixturevalue("pubsub").host, f"deliveries-{secrets.token_hex(6)}"
    request.getfixturevalue("monkeypatch").setenv("PUBSUB_EMULATOR_HOST", host)
    with grpc.insecure_channel(host) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        topic, subscription = publisher.topic_path(PROJECT, name), subscriber.subscription_path(PROJECT, name)
        publisher.create_topic(name=topic)
        subscriber.create_subscription(
            request={"name": subscription, "topic": topic, "enable_message_ordering": True, "ack_deadline_seconds": 60}
        )

        def take() -> Sequence[tuple[str, Callable[[], None]]]:
            pull = {"subscription": subscription, "max_messages": 1000}
            try:
                found = subscriber.pull(request=pull, timeout=1.0, retry=None).received_messages
            except DeadlineExceeded:
                return []
            return [
                (one.message.attributes["delivery_id"], _acknowledging(subscriber, subscription, one)) for one in found
            ]

        yield Backend(connect(PROJECT, name), take)


def _acknowledging(subscriber: SubscriberClient, subscription: str, one: Any) -> Callable[[], None]:
    return lambda: subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id])


@pytest.fixture(params=[("local", local), ("google", google)], ids=lambda param: param[0])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with request.param[1](request) as backend:
        yield backend


def delivery(number: int, job_id: str = "job", endpoint_id: str = "wh_1") -> Delivery:
    endpoint = Endpoint(
        document_id=endpoint_id, tenant_id="ténant", url="https://x", secrets=(Secret(text=""),), created_at=NOW
    )
    at = NOW + timedelta(seconds=number)
    return new_delivery(endpoint, f"{job_id}/{number}", "t", NOW, timedelta(1), at=at, job_id=job_id, data={})


def drain(backend: Backend, count: int) -> list[str]:
    """Ids in the order in which they came, each acknowledged."""
    seen: list[str] = []

    def deliver() -> bool:
        for found, acknowledge in backend.take():
            seen.append(found)
            acknowledge()
        return len(seen) >= count

    wait_for(deliver, timeout_s=30.0)
    return seen


def test_what_is_put_is_delivered_and_once_acknowledged_no_more(backend: Backend) -> None:
    backend.queue.put([])
    backend.queue.put([delivery(1)])
    assert drain(backend, 1) == [delivery(1).document_id]
    assert backend.take() == []


def test_a_lane_is_in_order(backend: Backend) -> None:
    sent = [delivery(number) for number in range(1, 7)]
    for first in range(0, 6, 2):
        backend.queue.put(sent[first : first + 2])
    assert drain(backend, 6) == [one.document_id for one in sent]


def test_a_lane_that_waits_does_not_hold_up_another(backend: Backend) -> None:
    slow, quick = delivery(1), delivery(2, endpoint_id="wh_2")
    backend.queue.put([slow, delivery(3), quick])
    taken: dict[str, Callable[[], None]] = {}
    wait_for(lambda: taken.update(backend.take()) or quick.document_id in taken, timeout_s=30.0)
    taken[quick.document_id]()  # while the other is not acknowledged


def test_one_put_takes_many_lanes(backend: Backend) -> None:
    sent = [delivery(number, f"job_{number % 40}", f"wh_{number % 3}") for number in range(120)]
    backend.queue.put(sent)
    assert sorted(drain(backend, 120)) == sorted(one.document_id for one in sent)


def test_an_endpoint_has_four_lanes_and_a_job_one(backend: Backend) -> None:
    lanes = {delivery(1, f"job_{number}").lane for number in range(100)}
    assert len(lanes) == LANES
    assert {delivery(number, "job_7").lane for number in range(9)} == {delivery(0, "job_7").lane}


def test_a_service_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(PipelineError) as error:
        connect(PROJECT, "nowhere").put([delivery(1)])
    assert error.value.code == "service.unavailable"
