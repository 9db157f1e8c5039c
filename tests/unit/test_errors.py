"""Errors are typed and documented; so are the states and the stages."""

import re
from http import HTTPStatus

import pytest

from infra.contracts import README, with_tables
from shared.advance import advance
from shared.errors import CATALOGUE, ErrorInfo, ErrorSpec, PipelineError, _catalogue
from shared.events import (
    Fact,
    JobCanceled,
    JobDeleted,
    JobErased,
    JobExpired,
    JobOverdue,
    JobRetried,
    MediaRejected,
)
from shared.jobs import Job, JobState
from shared.stages import STAGES
from tests.facts import CLAIMED, RECEIVED, START, VALIDATED, completed, created, error, failed

DOCUMENT = README.read_text("utf-8")


def test_the_tables_are_those_generated() -> None:
    assert with_tables(DOCUMENT) == DOCUMENT, "run `make contracts`"


def test_a_stale_table_is_found() -> None:
    assert with_tables(DOCUMENT.replace("`media.corrupt`", "`media.broken`")) == DOCUMENT
    assert with_tables("<!-- begin stages -->\nold\n<!-- end stages -->").count("\n") == len(STAGES) + 3


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_documented(code: str) -> None:
    row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| `{code}` |"))
    assert CATALOGUE[code].meaning in row


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_a_code_is_well_formed(spec: ErrorSpec) -> None:
    assert re.fullmatch(r"internal|[a-z]+\.[a-z_]+", spec.code)
    assert HTTPStatus(spec.http_status) >= HTTPStatus.BAD_REQUEST
    assert re.fullmatch(r"[A-Z].+\.", spec.meaning)
    # What a caller did wrong stays wrong, unless it only came at the wrong time.
    assert (
        not spec.retryable
        or spec.http_status in (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
        or spec.http_status >= 500
    )


def test_a_code_twice_is_refused() -> None:
    row = ErrorSpec("media.corrupt", 422, False, "Damaged.")
    with pytest.raises(ValueError, match="twice"):
        _catalogue(row, row)


def test_an_error_has_what_its_code_says_and_its_own_words() -> None:
    raised = PipelineError("media.too_long", "Eleven hours.", limit_s=36_000.0)
    assert (raised.http_status, raised.retryable, raised.details) == (422, False, {"limit_s": 36_000.0})
    assert str(raised) == "media.too_long: Eleven hours."
    assert raised.info == ErrorInfo(code="media.too_long", message="Eleven hours.", retryable=False)


def test_an_error_without_words_has_those_of_the_catalogue() -> None:
    assert PipelineError("stage.lost").info.message == CATALOGUE["stage.lost"].meaning


def test_an_unknown_code_cannot_be_raised_but_can_be_read() -> None:
    with pytest.raises(KeyError):
        PipelineError("media.haunted")
    newer = ErrorInfo.from_data({"code": "media.haunted", "message": "Boo.", "retryable": False, "since": "2.0"})
    assert newer.code == "media.haunted"


def transitions() -> set[tuple[str, str]]:
    """Every change of state there is: all facts, told in every order that makes a difference."""
    facts: list[Fact] = [RECEIVED, VALIDATED, CLAIMED, JobExpired(), JobCanceled()]
    facts += [MediaRejected(error=error("media.corrupt")), failed("transcribe", code="media.corrupt")]
    facts += [completed(stage) for stage in STAGES]
    facts += [JobOverdue(), JobRetried(), JobDeleted(), JobErased()]
    found: set[tuple[str, str]] = set()
    seen: set[tuple[str, ...]] = set()
    left: list[Job] = [created(deadline_at=START).job]
    while left:
        job = left.pop()
        key = (job.state, *(stage.state for stage in job.stages.values()))
        if key in seen:
            continue
        seen.add(key)
        after = [advance(job, fact, START).job for fact in facts]
        found |= {(str(job.state), str(later.state)) for later in after if later.state is not job.state}
        left += after
    return found


def test_the_diagram_has_exactly_the_changes_of_state_there_are() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+):", DOCUMENT, flags=re.MULTILINE)
    assert set(drawn) == transitions()
    assert len(drawn) == len(set(drawn))
    ends = re.findall(r"^    (\w+) --> \[\*\]$", DOCUMENT, flags=re.MULTILINE)
    assert set(ends) == {state for state in JobState if state.is_terminal}
