"""What the local queue promises beyond the events topic: subscriptions, one at a time, pauses, dead letters."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.cloud_events import topic_event
from infra.local.database import Database
from infra.local.event_queue import LEASE_S, MAX_ATTEMPTS, EventQueue, Message
from shared.events import Event, JobCreated, envelope


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[EventQueue]:
    database = Database(tmp_path / "state.sqlite")
    yield EventQueue(database, {"orchestrate": ()}, now=clock)
    database.close()


def event(job_id: str, revision: int) -> Event:
    return envelope(JobCreated(), tenant_id="t", job_id=job_id, revision=revision, now=datetime(2026, 1, 1, tzinfo=UTC))


def read(message: Message) -> Event:
    class Delivered:
        data = json.loads(message.body)

    return topic_event(Delivered())


def test_an_event_arrives_as_a_cloud_event(queue: EventQueue) -> None:
    queue.publish([event("job_ünï", 1)])
    (message,) = queue.lease(10)
    assert read(message) == event("job_ünï", 1)
    assert message.headers["ce-type"] == "google.cloud.pubsub.topic.v1.messagePublished"
    queue.acknowledge(message)
    assert queue.depth() == 0


def test_every_subscription_gets_every_event(tmp_path: Path) -> None:
    queue = EventQueue(Database(tmp_path / "state.sqlite"), {"orchestrate": (), "notify": ()})
    queue.publish([event("a", 1)])
    assert sorted(message.subscription for message in queue.lease(10)) == ["notify", "orchestrate"]


def test_a_subscription_with_types_gets_those_alone(tmp_path: Path) -> None:
    queue = EventQueue(
        Database(tmp_path / "state.sqlite"), {"all": (), "some": {"job.created"}, "none": {"job.failed"}}
    )
    queue.publish([event("a", 1)])
    assert sorted(message.subscription for message in queue.lease(10)) == ["all", "some"]


def test_events_of_one_job_come_one_after_the_other_and_of_others_meanwhile(queue: EventQueue) -> None:
    queue.publish([event("a", 1), event("a", 2), event("b", 1)])
    first = queue.lease(10)
    assert [read(message).id for message in first] == ["a/1/job.created", "b/1/job.created"]
    assert queue.lease(10) == []
    queue.acknowledge(first[0])
    assert [read(message).id for message in queue.lease(10)] == ["a/2/job.created"]


def test_a_subscription_can_be_left_out_for_a_while(tmp_path: Path) -> None:
    queue = EventQueue(Database(tmp_path / "state.sqlite"), {"slow": (), "quick": ()})
    queue.publish([event("a", 1), event("b", 1)])
    assert {message.subscription for message in queue.lease(10, without=["slow"])} == {"quick"}
    assert {message.subscription for message in queue.lease(10)} == {"slow"}


def test_a_rejected_event_comes_again_later_and_before_its_successors(queue: EventQueue, clock: Clock) -> None:
    queue.publish([event("a", 1), event("a", 2)])
    (message,) = queue.lease(10)
    queue.reject(message, "HTTP 500")
    assert queue.lease(10) == []
    clock.now_s += 1.0
    (again,) = queue.lease(10)
    assert (read(again).id, again.attempts) == ("a/1/job.created", 2)


def test_pauses_grow_and_are_bounded(queue: EventQueue, clock: Clock) -> None:
    queue.publish([event("a", 1)])
    pauses = []
    for _ in range(12):
        (message,) = queue.lease(1)
        queue.reject(message, "HTTP 500")
        pauses.append(queue.next_due_s() or 0.0)
        clock.now_s += pauses[-1]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1.0 and pauses[-1] == pytest.approx(30.0, abs=0.1)


def test_an_event_whose_subscriber_died_comes_again_when_its_lease_is_over(queue: EventQueue, clock: Clock) -> None:
    queue.publish([event("a", 1)])
    assert len(queue.lease(1)) == 1
    clock.now_s += LEASE_S - 1
    assert queue.lease(1) == []
    clock.now_s += 2
    assert len(queue.lease(1)) == 1


def test_a_new_owner_of_the_queue_need_not_wait_for_leases(queue: EventQueue) -> None:
    queue.publish([event("a", 1)])
    queue.lease(1)
    queue.release_leases()
    assert len(queue.lease(1)) == 1


def test_an_event_that_always_fails_becomes_a_dead_letter_and_lets_its_successors_go(
    queue: EventQueue, clock: Clock
) -> None:
    queue.publish([event("a", 1), event("a", 2)])
    for _ in range(MAX_ATTEMPTS):
        (message,) = queue.lease(1)
        assert read(message).id == "a/1/job.created"
        queue.reject(message, "HTTP 400")
        clock.now_s += 60.0
    (dead,) = queue.dead_letters()
    assert (dead.attempts, dead.last_error) == (MAX_ATTEMPTS, "HTTP 400")
    assert [read(message).id for message in queue.lease(10)] == ["a/2/job.created"]


def test_events_survive_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite")
    EventQueue(database, {"orchestrate": ()}).publish([event("a", 1)])
    database.close()
    reopened = EventQueue(Database(tmp_path / "state.sqlite"), {"orchestrate": ()})
    assert [read(message).id for message in reopened.lease(1)] == ["a/1/job.created"]


def test_thousands_that_wait_for_one_of_their_key_cost_the_others_nothing(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    database = Database(tmp_path / "state.sqlite")
    queue = EventQueue(database, {"orchestrate": ()})
    queue.publish([event("slow", revision) for revision in range(1, 5001)])
    assert [read(message).id for message in queue.lease(10)] == ["slow/1/job.created"]
    assert (queue.next_due_s() or 0.0) > 60.0  # nobody polls for those behind
    queue.publish([event(f"quick_{number}", 1) for number in range(20)])
    took = []
    for _ in range(20):
        began = time.perf_counter()
        (message,) = queue.lease(1)
        took.append(time.perf_counter() - began)
        assert read(message).jobid.startswith("quick")
    tell(f"a message beside 5000 that wait: {sorted(took)[10] * 1000:.1f} ms")
    assert sorted(took)[10] < 0.1
    queue.release_leases()
    assert read(queue.lease(1)[0]).id == "slow/1/job.created"
    database.close()
