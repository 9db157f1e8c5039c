"""What every store of dead letters promises: looking takes nothing away, a replay loses nothing.

``local`` is the queue of the local cloud. ``google`` is Pub/Sub's emulator, which itself forwards what was refused too
often, with the attributes that Pub/Sub adds; but only from a subscription without order, so the one here has none.

One file: Pub/Sub's own cases need the topic that the promises are checked on, and so does the command.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

from infra.cloud_events import topic_event
from infra.gcp.dead_letters import connect
from infra.gcp.event_bus import PubsubEventBus
from infra.local.database import Database
from infra.local.event_queue import MAX_ATTEMPTS, EventQueue, Message
from shared.errors import ErrorInfo, PipelineError
from shared.events import Event, JobFailed, envelope
from shared.ports import DeadLetters
from tests.clouds import wait_for
from tests.commands import EARWITNESS, earwitness
from tests.emulators import free_port
from tests.struck import KILLED

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

PROJECT = "test-project"
FUNCTION = "orchestrate"


@dataclass(frozen=True)
class Delivery:
    """One message as the subscriber gets it."""

    event: Event
    attributes: dict[str, str]
    ordering_key: str


class Backend(Protocol):
    """A topic with one subscriber, and its dead letters."""

    letters: DeadLetters
    attempts: int
    data: Sequence[str | Path]

    def give_up(self, events: Sequence[Event]) -> None:
        """Publish events, and have the subscriber refuse them until they are dead letters."""
        ...

    def deliveries(self) -> Sequence[Delivery]:
        """What is there for the subscriber, who accepts it."""
        ...

    def replay_and_die(self) -> int:
        """Replay in a process that is killed between publishing and acknowledging; its exit status."""
        ...


# Dies with the letter in the queue again and not yet gone from the dead letters.
LOCAL_DEATH = """
from infra.local.database import Database
from infra.local.event_queue import EventQueue
database = Database(Path(sys.argv[1]))
write = database.write
@contextmanager
def dying():
    with write() as connection:
        yield connection
        die()
database.write = dying
EventQueue(database, {}).replay()
"""

GOOGLE_DEATH = """
from infra.gcp.dead_letters import connect
letters = connect(*sys.argv[1:], limit_s=1.0, patience_s=1.0)
letters._subscriber.acknowledge = lambda **_: die()
letters.replay()
"""

DEATH = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(script: str, *arguments: str | Path) -> int:
    command = [sys.executable, "-c", f"{DEATH}{script}", *map(str, arguments)]
    return subprocess.run(command, timeout=60, check=False).returncode


class Local:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.sqlite"
        self._ahead_s = 0.0
        database = Database(self._path)
        self._queue = EventQueue(database, {FUNCTION: ()}, now=lambda: time.time() + self._ahead_s)
        self.letters: DeadLetters = self._queue
        self.attempts = MAX_ATTEMPTS
        self.data = ("--data", folder)

    def give_up(self, events: Sequence[Event]) -> None:
        self._queue.publish(events)
        while self._queue.depth():
            for message in self._queue.lease(100):
                self._queue.reject(message, "HTTP 500")
            self._ahead_s += 60.0

    def deliveries(self) -> Sequence[Delivery]:
        taken = list(iter(self._next, None))
        return [one for one in taken if one]

    def _next(self) -> Delivery | None:
        for message in self._queue.lease(1):
            self._queue.acknowledge(message)
            return self._delivery(message)
        return None

    def _delivery(self, message: Message) -> Delivery:
        class Received:
            data = json.loads(message.body)

        sent = Received.data["message"]
        return Delivery(topic_event(Received()), sent["attributes"], sent["orderingKey"])

    def replay_and_die(self) -> int:
        return run(LOCAL_DEATH, self._path)


class Google:
    attempts = 5  # the fewest that Pub/Sub allows
    data = ()

    def __init__(self, channel: grpc.Channel) -> None:
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        name = f"earwitness-test-{secrets.token_hex(6)}"
        self.topic, self.kept = f"{name}-events", f"{name}-dead-letters"
        self.topic_path, dead = (self.publisher.topic_path(PROJECT, one) for one in (self.topic, self.kept))
        self.dead_topic_path = dead
        self._path, self.kept_path = (
            self.subscriber.subscription_path(PROJECT, one) for one in (f"{name}-{FUNCTION}", self.kept)
        )
        for path in (self.topic_path, dead):
            self.publisher.create_topic(name=path)
        self.subscriber.create_subscription(request={"name": self.kept_path, "topic": dead})
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": self.attempts}
        self.subscriber.create_subscription(
            request={"name": self._path, "topic": self.topic_path, "dead_letter_policy": policy}
        )
        self.letters: DeadLetters = connect(PROJECT, self.kept, self.topic, limit_s=20.0, patience_s=1.0)

    def give_up(self, events: Sequence[Event]) -> None:
        PubsubEventBus(self.publisher, self.topic_path).publish(events)
        for _ in range(self.attempts):
            refused = self.pull()
            assert len(refused) == len(events)
            handles = [one.ack_id for one in refused]
            self.subscriber.modify_ack_deadline(subscription=self._path, ack_ids=handles, ack_deadline_seconds=0)
        assert self.pull() == []  # the emulator forwards when it would deliver once more

    def deliveries(self) -> Sequence[Delivery]:
        messages = []
        while page := self.pull():
            self.subscriber.acknowledge(subscription=self._path, ack_ids=[one.ack_id for one in page])
            messages += [one.message for one in page]
        return [Delivery(Event.from_json(one.data), dict(one.attributes), one.ordering_key) for one in messages]

    def replay_and_die(self) -> int:
        return run(GOOGLE_DEATH, PROJECT, self.kept, self.topic)

    def pull(self) -> list[ReceivedMessage]:
        # At once, so that no request still waits at the emulator and takes what comes next.
        request = {"subscription": self._path, "max_messages": 100, "return_immediately": True}
        return list(self.subscriber.pull(request=request, timeout=10.0).received_messages)


@contextmanager
def local(request: pytest.FixtureRequest) -> Iterator[Backend]:
    yield Local(request.getfixturevalue("tmp_path"))


@contextmanager
def google(request: pytest.FixtureRequest) -> Iterator[Google]:
    host = request.getfixturevalue("pubsub").host
    environment = request.getfixturevalue("monkeypatch")
    environment.setenv("PUBSUB_EMULATOR_HOST", host)
    with grpc.insecure_channel(host) as channel:
        backend = Google(channel)
        environment.setenv("EARWITNESS_CLOUD", "google")
        environment.setenv("EARWITNESS_PROJECT", PROJECT)
        environment.setenv("EARWITNESS_EVENTS_TOPIC", backend.topic)
        environment.setenv("EARWITNESS_DEAD_LETTERS_SUBSCRIPTION", backend.kept)
        yield backend


@pytest.fixture(params=[("local", local), ("google", google)], ids=lambda param: param[0])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    _, made = request.param
    with made(request) as backend:
        yield backend


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Iterator[Google]:
    with google(request) as backend:
        yield backend


def event(job_id: str, revision: int) -> Event:
    fact = JobFailed(error=ErrorInfo(code="internal", message="warum\n „ß“ 🎙"))
    return envelope(fact, tenant_id="t", job_id=job_id, revision=revision, now=datetime(2026, 1, 1, tzinfo=UTC))


def refusal(call: Callable[[], Any]) -> PipelineError:
    with pytest.raises(PipelineError) as refused:
        call()
    return refused.value


def events_of(backend: Backend) -> Sequence[str]:
    return [letter.event_id for letter in backend.letters.dead_letters()]


def test_nothing_given_up_is_nothing_listed_and_nothing_replayed(backend: Backend) -> None:
    assert backend.letters.dead_letters() == []
    assert backend.letters.replay() == 0
    assert backend.letters.replay([]) == 0
    assert backend.deliveries() == []


def test_a_dead_letter_says_who_would_not_take_what_and_how_often(backend: Backend) -> None:
    backend.give_up([event("job_ünï", 1)])
    (letter,) = backend.letters.dead_letters()
    assert letter.subscription.endswith(FUNCTION)
    assert (letter.event_id, letter.attempts) == ("job_ünï/1/job.failed", backend.attempts)
    assert letter.id


def test_looking_takes_nothing_away(backend: Backend) -> None:
    backend.give_up([event("a", 1), event("b", 1)])
    first = backend.letters.dead_letters()
    assert {letter.event_id for letter in first} == {"a/1/job.failed", "b/1/job.failed"}
    for _ in range(2):
        assert sorted(backend.letters.dead_letters(), key=str) == sorted(first, key=str)
    assert backend.deliveries() == []


def test_a_replay_delivers_as_it_was_published(backend: Backend) -> None:
    sent = event("job_ünï", 1)
    backend.give_up([sent])
    assert backend.letters.replay() == 1
    (delivery,) = backend.deliveries()
    assert delivery.event == sent
    assert delivery.ordering_key == "job_ünï"
    assert delivery.attributes == {"type": "job.failed", "tenant_id": "t", "job_id": "job_ünï"}
    assert backend.letters.dead_letters() == []


def test_a_replay_keeps_the_order_of_a_job(backend: Backend) -> None:
    for revision in range(1, 4):  # one after the other, as an ordered subscription gives them up
        backend.give_up([event("a", revision)])
    assert backend.letters.replay() == 3
    assert [delivery.event.id for delivery in backend.deliveries()] == [
        f"a/{number}/job.failed" for number in (1, 2, 3)
    ]


def test_one_that_is_named_is_replayed_and_the_others_stay(backend: Backend) -> None:
    backend.give_up([event(job_id, 1) for job_id in ("a", "b", "c")])
    ids = {letter.event_id: letter.id for letter in backend.letters.dead_letters()}
    assert backend.letters.replay([ids["b/1/job.failed"]]) == 1
    assert [delivery.event.jobid for delivery in backend.deliveries()] == ["b"]
    assert sorted(events_of(backend)) == ["a/1/job.failed", "c/1/job.failed"]
    assert refusal(lambda: backend.letters.replay([ids["b/1/job.failed"]])).code == "request.invalid"


@pytest.mark.parametrize("unknown", ["999", "nonsense", ""])
def test_with_an_unknown_id_nothing_is_replayed_and_nothing_lost(backend: Backend, unknown: str) -> None:
    backend.give_up([event("a", 1)])
    (letter,) = backend.letters.dead_letters()
    refused = refusal(lambda: backend.letters.replay([letter.id, unknown]))
    assert (refused.code, refused.message) == ("request.invalid", f"There is no dead letter {unknown}.")
    assert backend.letters.dead_letters() == [letter]
    assert backend.deliveries() == []


def test_what_is_given_up_again_is_listed_again(backend: Backend) -> None:
    sent = event("a", 1)
    backend.give_up([sent])
    backend.letters.replay()
    backend.deliveries()
    backend.give_up([sent])
    assert events_of(backend) == [sent.id]


def test_a_replay_that_is_killed_before_its_end_loses_nothing(backend: Backend) -> None:
    sent = event("a", 1)
    backend.give_up([sent])
    assert backend.replay_and_die() == KILLED
    wait_for(lambda: events_of(backend) == [sent.id])
    assert backend.letters.replay() == 1
    delivered = backend.deliveries()  # perhaps twice
    assert delivered and all(delivery.event == sent for delivery in delivered)
    assert backend.letters.dead_letters() == []


def test_the_commands_list_and_replay(backend: Backend) -> None:
    assert earwitness("dead-letters", "list", *backend.data).stdout == "No dead letters.\n"
    backend.give_up([event("a", 1), event("b", 1)])
    ids = {letter.event_id: letter.id for letter in backend.letters.dead_letters()}
    shown = earwitness("dead-letters", "list", *backend.data)
    title, *rows = shown.stdout.splitlines()
    assert title.split() == ["number", "function", "event", "deliveries", "last", "error"]
    assert {tuple(row.split()[:1] + row.split()[2:4]) for row in rows} == {
        (number, event_id, str(backend.attempts)) for event_id, number in ids.items()
    }
    assert all(FUNCTION in row for row in rows)
    refused = earwitness("dead-letters", "replay", "999", *backend.data)
    assert (refused.returncode, refused.stderr) == (1, "error: request.invalid: There is no dead letter 999.\n")
    named = earwitness("dead-letters", "replay", ids["a/1/job.failed"], *backend.data)
    assert (named.returncode, named.stdout) == (0, "1 delivered again.\n")
    assert [delivery.event.jobid for delivery in backend.deliveries()] == ["a"]
    assert earwitness("dead-letters", "replay", *backend.data).stdout == "1 delivered again.\n"
    assert [delivery.event.jobid for delivery in backend.deliveries()] == ["b"]
    assert backend.letters.dead_letters() == []


# --- Pub/Sub alone -------------------------------------------------------------------------------------------------

MARKS = {
    "CloudPubSubDeadLetterSourceSubscription": "earwitness-orchestrate",
    "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
    "CloudPubSubDeadLetterSourceDeliveryCount": "20",
    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-01-01T00:00:00.123+00:00",
}


def forward(project: Google, *messages: PubsubMessage) -> None:
    """Put messages where Pub/Sub forwards them to, as they are."""
    for begin in range(0, len(messages), 1000):
        project.publisher.publish(topic=project.dead_topic_path, messages=messages[begin : begin + 1000])


def test_what_nobody_can_read_is_listed_and_replayed_too(project: Google) -> None:
    forward(
        project,
        PubsubMessage(data=b"\xff nonsense", attributes={**MARKS, "CloudPubSubDeadLetterSourceDeliveryCount": "many"}),
        PubsubMessage(attributes={"left": "alone"}),
    )
    seen = [(letter.subscription, letter.event_id, letter.attempts) for letter in project.letters.dead_letters()]
    assert sorted(seen) == [("", "", 0), ("earwitness-orchestrate", "", 0)]
    assert project.letters.replay() == 2
    replayed = {(message.data, *message.attributes.items()) for message in (one.message for one in project.pull())}
    assert replayed == {(b"\xff nonsense",), (b"", ("left", "alone"))}


def test_a_letter_that_lost_its_ordering_key_gets_it_back(project: Google) -> None:
    attributes = {"type": "job.failed", "tenant_id": "t", "job_id": "a"}
    forward(project, PubsubMessage(data=event("a", 1).to_json().encode(), attributes={**attributes, **MARKS}))
    assert project.letters.replay() == 1
    (delivery,) = project.deliveries()
    assert (delivery.ordering_key, delivery.attributes) == ("a", attributes)


def test_why_it_was_refused_is_told_where_pubsub_knows_it(project: Google) -> None:
    forward(project, PubsubMessage(attributes={**MARKS, "CloudPubSubDeadLetterSourceDeliveryErrorMessage": "too long"}))
    assert [letter.last_error for letter in project.letters.dead_letters()] == ["too long"]


def test_many_and_large_letters_are_all_listed_and_replayed(project: Google) -> None:
    small = [event("many", revision) for revision in range(1, 301)]
    forward(
        project, *(PubsubMessage(data=one.to_json().encode(), ordering_key="many", attributes=MARKS) for one in small)
    )
    forward(project, PubsubMessage(data=b"x" * 9_000_000, attributes=MARKS))
    for _ in range(2):
        letters = project.letters.dead_letters()
        assert len({letter.id for letter in letters}) == len(letters) == 301
    assert project.letters.replay() == 301
    assert project.letters.dead_letters() == []


def test_no_more_than_a_thousand_are_held_at_once_and_the_others_come_next(project: Google) -> None:
    forward(project, *(PubsubMessage(data=b"x", attributes=MARKS) for _ in range(1010)))
    assert len(project.letters.dead_letters()) == 1000
    assert [project.letters.replay() for _ in range(3)] == [1000, 10, 0]


def test_while_someone_replays_nobody_else_does(project: Google) -> None:
    forward(project, PubsubMessage(data=b"x", attributes=MARKS))
    letters = connect(PROJECT, project.kept, project.topic, limit_s=20.0, patience_s=1.0)
    with letters._taken() as taken:
        assert len(taken) == 1
        assert project.letters.replay() == 0
    assert project.letters.replay() == 1


def test_what_could_not_be_published_stays(project: Google) -> None:
    forward(project, PubsubMessage(data=b"x", attributes=MARKS))
    elsewhere = connect(PROJECT, project.kept, "no-such-topic", limit_s=20.0, patience_s=1.0)
    assert refusal(elsewhere.replay).code == "service.unavailable"
    assert len(project.letters.dead_letters()) == 1


def test_a_replay_that_takes_too_long_ends_and_loses_nothing(project: Google) -> None:
    forward(project, *(PubsubMessage(data=b"x", attributes=MARKS) for _ in range(3)))
    hurried = connect(PROJECT, project.kept, project.topic, limit_s=0.001, patience_s=1.0)
    assert refusal(hurried.replay).code == "service.unavailable"
    assert len(project.letters.dead_letters()) + len(project.pull()) == 3


def test_the_oldest_is_first(project: Google) -> None:
    for revision in range(1, 6):
        forward(project, PubsubMessage(data=event("a", revision).to_json().encode(), attributes=MARKS))
    for _ in range(2):
        assert events_of(project) == [f"a/{revision}/job.failed" for revision in range(1, 6)]


def test_a_subscription_that_is_missing_is_unavailable(project: Google) -> None:
    letters = connect(PROJECT, "no-such-subscription", project.topic)
    assert refusal(letters.dead_letters).code == "service.unavailable"
    assert refusal(letters.replay).code == "service.unavailable"


class Silence(grpc.GenericRpcHandler):
    """A service that takes every request and answers none."""

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda _, context: time.sleep(context.time_remaining() + 0.5))


def quickly_unavailable(call: Callable[[], Any]) -> None:
    began = time.monotonic()
    assert refusal(call).code == "service.unavailable"
    assert time.monotonic() - began < 6.0


def test_a_closed_port_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    quickly_unavailable(connect(PROJECT, "kept", "events").replay)


def test_a_service_that_says_nothing_is_not_taken_for_one_that_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Silence()])
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    quickly_unavailable(connect(PROJECT, "kept", "events").dead_letters)
    server.stop(None).wait(10)


def test_a_process_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert refusal(lambda: connect(PROJECT, "kept", "events")).code == "service.unavailable"


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "replay"])
def test_the_command_refuses_to_guess_which_cloud_is_meant(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EARWITNESS_CLOUD", "google")
    both = earwitness("dead-letters", command, "--data", tmp_path)
    assert (both.returncode, both.stderr) == (
        1,
        "error: request.invalid: EARWITNESS_CLOUD is google, and --data is for the local cloud alone.\n",
    )
    neither = earwitness("dead-letters", command)
    assert neither.returncode == 1
    assert neither.stderr == "error: request.invalid: EARWITNESS_PROJECT is not set, and is needed here.\n"


def test_the_command_says_when_pubsub_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_CLOUD", "google")
    monkeypatch.setenv("EARWITNESS_PROJECT", PROJECT)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    away = earwitness("dead-letters", "list", timeout_s=30.0)
    assert (away.returncode, away.stderr) == (1, "error: service.unavailable: Pub/Sub did not answer: RetryError.\n")


def test_a_laptop_without_googles_clients_has_its_own_dead_letters(tmp_path: Path) -> None:
    backend = Local(tmp_path)
    backend.give_up([event("a", 1)])
    without = f"import sys; sys.modules['google'] = None; {EARWITNESS[2]}"
    command = [sys.executable, "-c", without, "dead-letters", "list", "--data", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "a/1/job.failed" in shown.stdout
