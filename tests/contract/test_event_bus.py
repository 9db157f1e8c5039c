"""What every events topic promises: at least once, as it was published, in order within one job.

``local`` is the queue of the local cloud, ``google`` Pub/Sub's emulator, ``google-live`` a real project, named by
``EARWITNESS_TEST_PROJECT``; topics and subscriptions made there are deleted again.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from infra.cloud_events import topic_event
from infra.gcp.event_bus import connect
from infra.local.database import Database
from infra.local.event_queue import LEASE_S, EventQueue
from shared.errors import ErrorInfo
from shared.events import Event, JobFailed, envelope
from shared.ports import EventBus
from tests.clouds import wait_for

# What a backend is known to do wrong: the test must fail there, and for no other reason.
DEFECTS = {
    (
        "google",
        "test_a_rejected_event_comes_before_its_successors",
    ): "Pub/Sub's emulator delivers the next of a key before one that was rejected",
}


@dataclass(frozen=True)
class Delivery:
    """One message as a subscriber gets it."""

    event: Event
    attributes: dict[str, str]
    ordering_key: str
    handle: Any


class Topic(Protocol):
    """A bus, and one subscription to all of it."""

    bus: EventBus

    def take(self, limit: int) -> Sequence[Delivery]:
        """What is there to be delivered; nothing, after a while."""
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """The subscriber is done with them."""
        ...

    def reject(self, delivery: Delivery) -> None:
        """The subscriber failed."""
        ...

    def abandon(self, delivery: Delivery) -> None:
        """The subscriber died: its lease runs out."""
        ...


class LocalTopic:
    def __init__(self, database: Database) -> None:
        self._ahead_s = 0.0
        self.bus = self._queue = EventQueue(database, {"all": ()}, now=lambda: time.time() + self._ahead_s)

    def take(self, limit: int) -> Sequence[Delivery]:
        return [self._delivery(message) for message in self._queue.lease(limit)]

    def _delivery(self, message: Any) -> Delivery:
        class Received:
            data = json.loads(message.body)

        sent = Received.data["message"]
        return Delivery(topic_event(Received()), sent["attributes"], sent["orderingKey"], message)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._queue.acknowledge(delivery.handle)

    def reject(self, delivery: Delivery) -> None:
        self._queue.reject(delivery.handle, "HTTP 500")
        self._ahead_s += 1.0

    def abandon(self, delivery: Delivery) -> None:
        self._ahead_s += LEASE_S + 1.0


class PubsubTopic:
    def __init__(self, bus: EventBus, subscriber: SubscriberClient, subscription: str) -> None:
        self.bus = bus
        self._subscriber = subscriber
        self._subscription = subscription

    def take(self, limit: int) -> Sequence[Delivery]:
        request = {"subscription": self._subscription, "max_messages": limit}
        try:
            received = self._subscriber.pull(request=request, timeout=2.0, retry=None).received_messages
        except DeadlineExceeded:
            return []
        return [
            Delivery(
                Event.from_json(one.message.data), dict(one.message.attributes), one.message.ordering_key, one.ack_id
            )
            for one in received
        ]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            handles = [delivery.handle for delivery in deliveries]
            self._subscriber.acknowledge(subscription=self._subscription, ack_ids=handles)

    def reject(self, delivery: Delivery) -> None:
        self._extend(delivery, 0)

    def abandon(self, delivery: Delivery) -> None:
        self._extend(delivery, 1)

    def _extend(self, delivery: Delivery, seconds: int) -> None:
        self._subscriber.modify_ack_deadline(
            subscription=self._subscription, ack_ids=[delivery.handle], ack_deadline_seconds=seconds
        )


@contextmanager
def subscribed(project: str, publisher: PublisherClient, subscriber: SubscriberClient) -> Iterator[PubsubTopic]:
    """A topic and an ordered subscription of their own."""
    name = f"earwitness-test-{secrets.token_hex(6)}"
    topic, subscription = publisher.topic_path(project, name), subscriber.subscription_path(project, name)
    publisher.create_topic(name=topic)
    ordered = {"name": subscription, "topic": topic, "enable_message_ordering": True, "ack_deadline_seconds": 60}
    subscriber.create_subscription(request=ordered)
    try:
        yield PubsubTopic(connect(project, name), subscriber, subscription)
    finally:
        subscriber.delete_subscription(subscription=subscription)
        publisher.delete_topic(topic=topic)


@contextmanager
def local(request: pytest.FixtureRequest) -> Iterator[Topic]:
    tmp_path: Path = request.getfixturevalue("tmp_path")
    database = Database(tmp_path / "state.sqlite")
    yield LocalTopic(database)
    database.close()


@contextmanager
def google(request: pytest.FixtureRequest) -> Iterator[Topic]:
    host = request.getfixturevalue("pubsub").host
    request.getfixturevalue("monkeypatch").setenv("PUBSUB_EMULATOR_HOST", host)
    channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    with (
        channel,
        subscribed(
            "test-project", publisher, SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        ) as topic,
    ):
        yield topic


@contextmanager
def google_live(request: pytest.FixtureRequest) -> Iterator[Topic]:
    project = os.environ.get("EARWITNESS_TEST_PROJECT")
    if not project:
        pytest.skip("EARWITNESS_TEST_PROJECT names no real project")
    request.getfixturevalue("monkeypatch").delenv("PUBSUB_EMULATOR_HOST", raising=False)
    with subscribed(project, PublisherClient(), SubscriberClient()) as topic:
        yield topic


Backend = Callable[[pytest.FixtureRequest], Any]


@pytest.fixture(params=[("local", local), ("google", google), ("google-live", google_live)], ids=lambda param: param[0])
def topic(request: pytest.FixtureRequest) -> Iterator[Topic]:
    name, backend = request.param
    if reason := DEFECTS.get((name, request.node.originalname)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    with backend(request) as topic:
        yield topic


def event(job_id: str, revision: int, message: str = "why") -> Event:
    fact = JobFailed(error=ErrorInfo(code="internal", message=message))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return envelope(fact, tenant_id="ténant", job_id=job_id, revision=revision, now=now)


def take(topic: Topic, count: int = 1) -> Sequence[Delivery]:
    """Deliveries, acknowledged by nobody."""
    taken: list[Delivery] = []
    wait_for(lambda: taken.extend(topic.take(1000)) or len(taken) >= count, timeout_s=60.0)
    return taken


def drain(topic: Topic, count: int) -> Sequence[Event]:
    """Events in the order of their delivery, each acknowledged."""
    seen: list[Event] = []

    def deliver() -> bool:
        deliveries = topic.take(1000)
        topic.acknowledge(deliveries)
        seen.extend(delivery.event for delivery in deliveries)
        return len(seen) >= count

    wait_for(deliver, timeout_s=60.0)
    return seen


def test_an_event_arrives_as_it_was_published(topic: Topic) -> None:
    sent = event("job_ünï 片", 1, "warum\n\x00 „ß“ 🎙")
    topic.bus.publish([sent])
    (delivery,) = take(topic)
    assert delivery.event == sent
    assert delivery.attributes == {"type": "job.failed", "tenant_id": "ténant", "job_id": "job_ünï 片"}
    assert delivery.ordering_key == "job_ünï 片"


def test_nothing_published_is_nothing_delivered(topic: Topic) -> None:
    topic.bus.publish([])
    assert topic.take(10) == []


def test_what_was_acknowledged_does_not_come_again(topic: Topic) -> None:
    topic.bus.publish([event("a", 1)])
    topic.acknowledge(take(topic))
    topic.bus.publish([event("b", 1)])
    assert [delivery.event.jobid for delivery in take(topic)] == ["b"]


def test_events_of_one_job_come_in_order(topic: Topic) -> None:
    for first in range(1, 10, 3):
        topic.bus.publish([event("a", revision) for revision in range(first, first + 3)])
    assert drain(topic, 9) == [event("a", revision) for revision in range(1, 10)]


def test_a_job_that_waits_does_not_hold_up_the_others(topic: Topic) -> None:
    topic.bus.publish([event("a", 1), event("a", 2), event("b", 1)])
    assert {delivery.event.jobid for delivery in take(topic, 2)} == {"a", "b"}


def test_an_event_published_twice_comes_twice_under_one_id(topic: Topic) -> None:
    for _ in range(2):
        topic.bus.publish([event("a", 1)])
    assert [delivered.id for delivered in drain(topic, 2)] == ["a/1/job.failed"] * 2


def test_a_rejected_event_comes_again(topic: Topic) -> None:
    topic.bus.publish([event("a", 1)])
    (first,) = take(topic)
    topic.reject(first)
    (again,) = take(topic)
    assert again.event == first.event


def test_a_rejected_event_comes_before_its_successors(topic: Topic) -> None:
    topic.bus.publish([event("a", 1), event("a", 2)])
    (first,) = topic.take(1)
    topic.reject(first)
    assert drain(topic, 2) == [event("a", 1), event("a", 2)]


def test_an_event_whose_subscriber_died_comes_again(topic: Topic) -> None:
    topic.bus.publish([event("a", 1)])
    (first,) = take(topic)
    topic.abandon(first)
    (again,) = take(topic)
    assert again.event == first.event


@pytest.mark.parametrize("jobs", [7, 1000])
def test_a_thousand_events_at_once_all_arrive_in_order(topic: Topic, jobs: int) -> None:
    sent = [event(f"job_{index % jobs}", 1 + index // jobs) for index in range(1000)]
    topic.bus.publish(sent)
    seen = drain(topic, len(sent))
    for number in range(jobs):
        name = f"job_{number}"
        assert [one for one in seen if one.jobid == name] == [one for one in sent if one.jobid == name]


def test_events_nearly_as_large_as_a_request_arrive(topic: Topic) -> None:
    sent = [event("a", revision, "x" * 8_900_000) for revision in (1, 2)]
    topic.bus.publish(sent)
    assert drain(topic, 2) == sent
