"""Deliveries step by step, with a clock that is told: claims, retries, what a crash leaves, what a log keeps."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.pipeline.delivering import deliver, signature_headers
from infra.pipeline.endpoints import create_endpoint, delete_endpoint, find_endpoint, rotate_secret
from infra.pipeline.sweep import sweep
from infra.pipeline.webhooks import fan_out, list_deliveries, replay
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.events import Event, JobCreated, envelope
from shared.webhooks import (
    MAX_ATTEMPTS_SHOWN,
    MAX_SECRETS,
    Delivery,
    DeliveryState,
    Endpoint,
    Retries,
    Secret,
    check_headers,
    make_secret,
    new_delivery,
)
from tests.receivers import Receiver, receiving
from tests.services import ToldClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def local(services: GivenServices) -> GivenServices:
    """Services that may call this machine."""
    services.__dict__["settings"] = services.settings.model_copy(
        update={"outbound_allow": (ip_network("127.0.0.0/8"),), "webhook_timeout_s": 1.0}
    )
    return services


def clock(services: GivenServices) -> ToldClock:
    assert isinstance(services.clock, ToldClock)
    return services.clock


def event(services: GivenServices, number: int = 1) -> Event:
    now = services.clock.now()
    return envelope(JobCreated(), tenant_id="t", job_id=f"job_{number}", revision=1, now=now)


def only(services: GivenServices) -> Delivery:
    (found,) = services.documents.find(Delivery)
    return found


def take(services: GivenServices) -> list[str]:
    """Ids in the queue, each acknowledged."""
    queue: Any = services.deliveries
    ids = []
    for message in queue.lease(1000):
        queue.acknowledge(message)
        ids.append(message.headers["ce-id"])
    return ids


def test_two_messages_at_once_make_one_attempt(local: GivenServices, receiver: Receiver) -> None:
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: deliver(local, only(local).document_id), range(8)))
    deliver(local, only(local).document_id)
    assert len(receiver.got) == 1 and only(local).state is DeliveryState.DELIVERED


def test_an_attempt_whose_process_died_is_made_again(local: GivenServices, receiver: Receiver) -> None:
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))
    take(local)
    died = RuntimeError("the process dies here")

    def die(_got: Any) -> Any:
        raise died

    documents, before = local.documents, local.documents.update
    calls = []

    def dying(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:  # the attempt was made, and is not written down
            raise died
        return before(*arguments)

    documents.__dict__["update"] = dying
    with pytest.raises(RuntimeError):
        deliver(local, only(local).document_id)
    del documents.__dict__["update"]
    deliver(local, only(local).document_id)  # a message that comes again meanwhile finds the claim
    assert len(receiver.got) == 1
    assert sweep(local).notified == 0
    clock(local).pass_by(minutes=1, seconds=1)
    assert sweep(local).notified == 1
    assert take(local) == [only(local).document_id]
    deliver(local, only(local).document_id)
    assert {got.id for got in receiver.got} == {only(local).document_id} and len(receiver.got) == 2
    assert only(local).state is DeliveryState.DELIVERED and sweep(local).notified == 0


def test_a_fan_out_that_was_cut_off_is_done_again_and_makes_nothing_twice(
    local: GivenServices, receiver: Receiver
) -> None:
    for path in ("a", "b"):
        create_endpoint(local, "t", url=f"{receiver.url}/{path}")
    one = event(local)
    queue: Any = local.deliveries
    queue.__dict__["put"] = lambda _: (_ for _ in ()).throw(PipelineError("service.unavailable"))
    with pytest.raises(PipelineError):
        fan_out(local, one)
    del queue.__dict__["put"]
    for _ in range(2):
        fan_out(local, one)
    ids = take(local) + take(local)
    assert len(local.documents.find(Delivery)) == len(set(ids)) == 2
    for found in ids:
        deliver(local, found)
    assert sorted(got.path for got in receiver.got) == ["/a", "/b"]
    clock(local).pass_by(minutes=20)
    assert sweep(local).notified == 0


def test_what_the_queue_has_lost_is_put_again(local: GivenServices, receiver: Receiver) -> None:
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))
    assert len(take(local)) == 1  # and nobody makes the attempt
    clock(local).pass_by(minutes=14)
    assert sweep(local).notified == 0
    clock(local).pass_by(minutes=2)
    assert (sweep(local).notified, sweep(local).notified) == (1, 0)
    assert len(take(local)) == 1


def test_a_delivery_is_tried_for_a_day_with_growing_pauses_and_then_fails(
    local: GivenServices, receiver: Receiver
) -> None:
    receiver.answer = lambda _: (500, {})
    made = create_endpoint(local, "t", url=receiver.url).endpoint
    fan_out(local, event(local))
    pauses = []
    while only(local).state is DeliveryState.PENDING:
        deliver(local, only(local).document_id)
        if (due := only(local).due_at) is not None:
            pauses.append((due - clock(local).now()).total_seconds())
            clock(local).time = due
    assert clock(local).now() == NOW + DAY
    assert 8 < len(receiver.got) < 14 and len(only(local).attempts) == len(receiver.got)
    for number, pause in enumerate(pauses[:-1]):
        nominal = min(5.0 * 4**number, 6 * 3600.0)
        assert 0.5 * nominal <= pause <= 1.5 * nominal
    assert {got.id for got in receiver.got} == {only(local).document_id}
    assert find_endpoint(local, "t", made.document_id).paused_at is None  # not after one day
    clock(local).pass_by(days=2)
    fan_out(local, event(local, 2))
    deliver(local, list_deliveries(local, "t", made.document_id)[0].document_id)
    paused = find_endpoint(local, "t", made.document_id)
    assert paused.paused_at == clock(local).now() and paused.failing_since == NOW


@pytest.mark.parametrize(("said", "at_least_s"), [("120", 120.0), ("999999", 21_600.0), ("soon", 0.0), ("-5", 0.0)])
def test_an_endpoint_that_asks_to_be_left_alone_is(
    local: GivenServices, receiver: Receiver, said: str, at_least_s: float
) -> None:
    receiver.answer = lambda _: (429, {"retry-after": said})
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))
    deliver(local, only(local).document_id)
    pause_s = ((only(local).due_at or NOW) - NOW).total_seconds()
    assert max(at_least_s, 2.5) <= pause_s <= max(at_least_s, 7.5)


def test_a_replay_during_an_attempt_is_not_lost(local: GivenServices, receiver: Receiver) -> None:
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))

    def during(_got: Any) -> Any:
        clock(local).pass_by(seconds=1)
        replay(local, "t", only(local).document_id)
        return 204, {}

    receiver.answer = during
    deliver(local, only(local).document_id)
    assert only(local).state is DeliveryState.PENDING
    receiver.answer = lambda _: (204, {})
    deliver(local, only(local).document_id)
    assert only(local).state is DeliveryState.DELIVERED and len(receiver.got) == 2


def test_what_is_on_its_way_to_a_deleted_endpoint_fails(local: GivenServices, receiver: Receiver) -> None:
    made = create_endpoint(local, "t", url=receiver.url).endpoint
    fan_out(local, event(local))
    delete_endpoint(local, "t", made.document_id)
    deliver(local, only(local).document_id)
    assert only(local).attempts[0].error == "The endpoint was deleted." and receiver.got == []
    deliver(local, "msg_unknown")


def test_the_log_of_a_delivery_is_bounded(local: GivenServices, receiver: Receiver) -> None:
    receiver.answer = lambda _: (500, {})
    create_endpoint(local, "t", url=receiver.url)
    fan_out(local, event(local))
    for _ in range(MAX_ATTEMPTS_SHOWN + 5):
        replay(local, "t", only(local).document_id)
        deliver(local, only(local).document_id)
    assert len(only(local).attempts) == MAX_ATTEMPTS_SHOWN
    assert only(local).expires_at == clock(local).now() + timedelta(days=30)


def test_secrets_are_few_however_often_they_are_rotated(local: GivenServices, receiver: Receiver) -> None:
    made = create_endpoint(local, "t", url=receiver.url)
    for number in range(8):
        made = rotate_secret(local, "t", made.endpoint.document_id, grace_s=3600.0)
        assert len(made.endpoint.secrets) == min(number + 2, MAX_SECRETS)
    assert len(set(made.endpoint.signing_secrets(NOW))) == MAX_SECRETS
    assert made.endpoint.signing_secrets(NOW + DAY) == [made.secret]


def test_without_being_allowed_an_attempt_does_not_reach_this_machine(
    services: GivenServices, receiver: Receiver
) -> None:
    with pytest.raises(PipelineError) as error:
        create_endpoint(services, "t", url=receiver.url)
    assert error.value.code == "outbound.refused"
    with pytest.raises(PipelineError):
        create_endpoint(services, "t", url="http://example.com/")  # not encrypted
    # One that got in while its name led elsewhere.
    secret = Secret(text=make_secret(b"k" * 32))
    endpoint = Endpoint(document_id="wh_1", tenant_id="t", url=receiver.url, secrets=(secret,), created_at=NOW)
    services.documents.create(endpoint)
    fan_out(services, event(services))
    deliver(services, only(services).document_id)
    assert only(services).attempts[0].error == "The URL must lead to a public address." and receiver.got == []


@pytest.mark.parametrize("name", ["Host", "content-length", "Content-Type", "webhook-id", "Connection", "a b", "", "ä"])
def test_a_header_that_is_ours_or_none_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(PipelineError) as error:
        check_headers({name: "secret-value"})
    assert "secret-value" not in str(error.value)


def delivery(started_at: datetime = NOW, tries: int = 1) -> Delivery:
    endpoint = Endpoint(document_id="wh_1", tenant_id="t", url="https://x", secrets=(Secret(text=""),), created_at=NOW)
    made = new_delivery(endpoint, "e", "t", started_at, DAY, at=started_at, data={})
    return made.model_copy(update={"tries": tries})


@given(tries=st.integers(1, 1000), age_s=st.floats(0, 200_000), jitter=st.floats(0, 1), asked_s=st.floats(0, 10**9))
def test_the_next_attempt_is_later_and_never_after_the_last(
    tries: int, age_s: float, jitter: float, asked_s: float
) -> None:
    retries, now = Retries(first_s=5.0, max_s=21_600.0, for_s=86_400.0), NOW + timedelta(seconds=age_s)
    after = retries.next_attempt(delivery(tries=tries), now, jitter=jitter, asked_s=asked_s)
    if age_s >= 86_400.0:
        assert after is None
    else:
        assert after is not None and now < after <= NOW + DAY


def test_one_event_and_endpoint_make_one_id_that_sorts_by_time() -> None:
    ids = [delivery(NOW + timedelta(seconds=number)).document_id for number in range(100)]
    assert ids == sorted(ids) and len(set(ids)) == 100
    assert delivery().document_id == delivery().document_id and "." not in delivery().document_id


def test_signing_takes_microseconds() -> None:
    began = time.perf_counter()
    headers = signature_headers([make_secret(b"k" * 32)] * 2, "msg_1", datetime.now(UTC), "{}" * 500)
    assert time.perf_counter() - began < 0.1
    assert len(headers["webhook-signature"].split()) == 2
