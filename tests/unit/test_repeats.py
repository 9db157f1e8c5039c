"""Requests that come again: who makes the answer, and who gets it."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.api.cursors import make_cursor, read_cursor
from infra.api.sealing import seal, unseal
from infra.pipeline.intake import create_job
from infra.pipeline.repeats import MAX_BODY_BYTES, claim, give_up, keep, withdraw
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.options import JobOptions
from shared.repeats import KeptAnswer

ASKED, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"asked", b"other"))


def claimed(services: GivenServices, fingerprint: str = ASKED, *, tenant_id: str = "t", key: str = "k") -> KeptAnswer:
    return claim(services, tenant_id, key, fingerprint, lease_s=15)


def answered(services: GivenServices, body: str = "{}", **of: str) -> None:
    keep(services, claimed(services, **of), status=201, media_type="application/json", body=body)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code


def test_the_first_makes_the_answer_and_the_others_get_it(services: GivenServices) -> None:
    mine = claimed(services)
    assert (mine.status, mine.tries) == (None, 1)
    assert refused(lambda: claimed(services)) == "idempotency.in_progress"
    keep(services, mine, status=201, media_type="application/json", body='{"a": 1}')
    again = claimed(services)
    assert (again.status, again.body) == (201, '{"a": 1}')


def test_only_one_of_many_may_make_it(services: GivenServices) -> None:
    def outcome(_: int) -> str:
        try:
            return str(claimed(services).tries)
        except PipelineError as error:
            return error.code

    for tries in ("1", "2"):
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(outcome, range(8)))
        assert sorted(set(outcomes)) == [tries, "idempotency.in_progress"] and outcomes.count(tries) == 1
        services.clock.pass_by(seconds=15)


def test_another_request_under_the_key_is_refused_before_and_after_the_answer(services: GivenServices) -> None:
    mine = claimed(services)
    assert refused(lambda: claimed(services, OTHER)) == "idempotency.mismatch"
    give_up(services, mine)
    assert refused(lambda: claimed(services, OTHER)) == "idempotency.mismatch"
    answered(services)
    assert refused(lambda: claimed(services, OTHER)) == "idempotency.mismatch"


def test_tenants_and_keys_do_not_meet(services: GivenServices) -> None:
    answered(services)
    for of in ({"tenant_id": "u"}, {"key": "l"}, {"tenant_id": "t/k", "key": ""}):
        assert claimed(services, OTHER, **of).status is None


def test_what_was_refused_leaves_the_key_free_for_anything(services: GivenServices) -> None:
    withdraw(services, claimed(services))
    assert claimed(services, OTHER).tries == 1


def test_what_failed_for_now_may_be_tried_at_once(services: GivenServices) -> None:
    give_up(services, claimed(services))
    assert claimed(services).tries == 2


def test_a_key_is_forgotten_after_a_day_though_nobody_removed_it(services: GivenServices) -> None:
    answered(services)
    services.clock.pass_by(hours=23, minutes=59)
    assert claimed(services).status == 201
    services.clock.pass_by(minutes=1)
    assert (claimed(services, OTHER).status, claimed(services, key="new").tries) == (None, 1)


def test_whoever_was_overtaken_does_not_change_the_answer(services: GivenServices) -> None:
    slow = claimed(services)
    services.clock.pass_by(seconds=15)
    quick = claimed(services)
    keep(services, quick, status=200, media_type="", body="quick")
    keep(services, slow, status=200, media_type="", body="slow")
    give_up(services, slow)
    assert claimed(services).body == "quick"


def test_whoever_was_overtaken_and_is_refused_takes_the_claim_of_nobody(services: GivenServices) -> None:
    slow = claimed(services)
    services.clock.pass_by(seconds=15)
    quick = claimed(services)
    withdraw(services, slow)
    assert refused(lambda: claimed(services)) == "idempotency.in_progress"
    keep(services, quick, status=200, media_type="", body="quick")
    withdraw(services, slow)
    assert claimed(services).body == "quick"


def test_an_answer_that_no_document_holds_is_made_again(services: GivenServices) -> None:
    answered(services, "x" * (MAX_BODY_BYTES + 1))
    assert (again := claimed(services)).status is None and again.tries == 2


def test_a_process_that_dies_before_it_answers_makes_no_second_job(services: GivenServices) -> None:
    def create(mine: KeptAnswer, number: int) -> str:
        about = {"tenant_id": "t", "content_type": "", "options": JobOptions(), "retention_days": 1.0}
        return create_job(services, claim=mine, number=number, **about).job.job_id

    first = claimed(services)
    made = [create(first, number) for number in (0, 1)]
    services.clock.pass_by(seconds=15)  # nothing was kept: it is dead
    second = claimed(services)
    assert second.tries == 2
    assert [create(second, number) for number in (0, 1, 2)][:2] == made
    assert len(services.jobs.list()) == 3
    withdraw(services, second)
    services.clock.pass_by(seconds=1)
    assert create(claimed(services), 0) not in made


@given(text=st.text(max_size=300), secret=st.text(max_size=40), name=st.text(max_size=40))
def test_what_is_sealed_is_opened_with_its_secret_alone(text: str, secret: str, name: str) -> None:
    sealed = seal(text, secret, name)
    assert unseal(sealed, secret, name) == text
    assert unseal(sealed, f"{secret}.", name) is None
    assert unseal(sealed, secret, f"{name}.") is None
    assert seal(text, secret, name) != sealed


@given(position=st.from_regex(r"[a-z_0-9]{1,40}", fullmatch=True), other=st.text(max_size=80))
def test_a_cursor_is_good_for_its_list_alone(position: str, other: str) -> None:
    cursor = make_cursor(position, "t", ["running"], None)
    assert read_cursor(cursor, "t", ["running"], None) == position
    for wrong, asked in ((cursor, ("u", ["running"], None)), (cursor, ("t", [], None)), (other, ("t",)), ("", ("t",))):
        assert refused(lambda wrong=wrong, asked=asked: read_cursor(wrong, *asked)) == "request.invalid"
