"""Wishes: to cancel, to try again, to delete; and a deadline. What each does to a job in every state it can be in."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.advance import MAX_LOST_ATTEMPTS, advance
from shared.claims import due_stages
from shared.events import Fact, JobCanceled, JobDeleted, JobErased, JobExpired, JobOverdue, JobRetried, MediaRejected
from shared.jobs import Job, JobState
from shared.media import Media
from shared.options import JobOptions
from tests.facts import (
    CLAIMED,
    RECEIVED,
    START,
    VALIDATED,
    Story,
    completed,
    created,
    dispatched,
    error,
    failed,
    progressed,
)


def told(story: Story, *facts: Fact) -> Story:
    story.tell(*facts)
    return story


def half_done() -> Story:
    """A job whose words are there, and whose turns are being looked for."""
    return told(Story.running(), dispatched("transcribe"), dispatched("diarize"), completed("transcribe"))


STORIES: dict[str, Callable[[], Story]] = {
    "awaiting_upload": Story.begin,
    "validating": lambda: Story.begin(None, RECEIVED),
    "running": half_done,
    "completed": lambda: Story.running().complete(),
    "rejected": lambda: Story.begin(None, RECEIVED, MediaRejected(error=error("media.corrupt"))),
    "failed": lambda: told(half_done(), failed("diarize", code="media.corrupt")),
    "canceled": lambda: told(half_done(), JobCanceled()),
    "expired": lambda: Story.begin(None, JobExpired()),
}


# --- try again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_trying_again_repeats_what_was_not_completed_and_nothing_else(state: str) -> None:
    story = STORIES[state]()
    before = story.job
    story.tell(JobRetried())
    assert story.job.state is JobState.RUNNING and story.job.error is None
    assert story.types[-1] == "job.retried"
    assert story.job.stages["transcribe"] == before.stages["transcribe"]
    assert story.tell(CLAIMED).dispatch == ("diarize",)
    assert story.job.stages["diarize"].attempt == 2
    story.tell(completed("diarize", 2), CLAIMED, completed("attribute"), CLAIMED, completed("caption"))
    assert story.job.state is JobState.COMPLETED
    assert story.types.count("job.completed") == 1


def test_reports_of_the_attempt_before_change_nothing_after_a_retry() -> None:
    story = told(STORIES["canceled"](), JobRetried(), CLAIMED)
    for late in (progressed("diarize", 0.9), completed("diarize"), failed("diarize")):
        assert advance(story.job, late, story.now).job is story.job


def test_a_retry_stops_the_calls_that_were_left() -> None:
    assert STORIES["canceled"]().tell(JobRetried()).cancel == ("call/diarize/1",)


def test_a_stage_that_used_up_its_attempts_has_them_again() -> None:
    story = Story.running()
    while story.job.state is JobState.RUNNING:
        story.tell(failed("transcribe", story.job.stages["transcribe"].attempt))
        story.wait(120).tell(CLAIMED)
    assert story.job.state is JobState.FAILED
    story.tell(JobRetried(), CLAIMED)
    attempt = story.job.stages["transcribe"].attempt
    story.tell(failed("transcribe", attempt))
    assert story.job.state is JobState.RUNNING


def test_a_job_that_was_canceled_while_it_was_looked_at_is_looked_at_again() -> None:
    story = told(Story.begin(None, RECEIVED), JobCanceled(), JobRetried())
    assert story.job.state is JobState.VALIDATING
    story.tell(VALIDATED)
    assert due_stages(story.job, story.now) == ("transcribe", "diarize")


@pytest.mark.parametrize("state", sorted(set(STORIES) - {"failed", "canceled"}))
def test_only_what_failed_or_was_canceled_can_be_tried_again(state: str) -> None:
    story = STORIES[state]()
    assert advance(story.job, JobRetried(), story.now).job is story.job


def test_a_job_without_a_recording_cannot_be_tried_again() -> None:
    story = told(Story.begin(), JobCanceled())
    assert advance(story.job, JobRetried(), story.now).job is story.job


# --- delete ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STORIES)
def test_any_job_can_be_deleted_and_then_says_nothing_of_what_it_was_about(state: str) -> None:
    story = STORIES[state]()
    before, step = story.job, story.tell(JobDeleted())
    assert (story.job.state, story.types[-1]) == (JobState.DELETING, "job.deleted")
    assert step.cancel == (("call/diarize/1",) if state in ("running", "canceled") else ())
    blank = Job(
        **{
            name: getattr(story.job, name)
            for name in ("job_id", "tenant_id", "state", "revision", "created_at", "updated_at", "upload_expires_at")
        },
        media=before.media and Media(object=before.media.object),
        stages=story.job.stages,
        progress=story.job.progress,
        history=story.job.history,
    )
    assert story.job == blank
    assert [change.state for change in story.job.history] == [JobState.DELETING]
    assert story.job.artifacts == () and all(stage.error is None for stage in story.job.stages.values())
    assert (story.job.job_id, story.job.created_at) == (before.job_id, before.created_at)
    assert story.job.revision == before.revision + 1


def test_nothing_brings_a_deleted_job_back() -> None:
    for story in (told(half_done(), JobDeleted()), told(half_done(), JobDeleted(), JobErased())):
        for late in (JobDeleted(), JobRetried(), JobCanceled(), JobOverdue(), RECEIVED, completed("diarize")):
            assert advance(story.job, late, story.now).job is story.job


def test_only_a_job_that_is_being_deleted_is_erased() -> None:
    for story in (build() for build in STORIES.values()):
        assert advance(story.job, JobErased(), story.now).job is story.job
    erased = told(half_done(), JobDeleted(), JobErased()).job
    assert (erased.state, erased.media) == (JobState.DELETED, None)


def test_a_call_that_was_accepted_after_the_deletion_is_stopped() -> None:
    story = told(Story.running(), JobDeleted())
    assert story.tell(dispatched("transcribe")).cancel == ("call/transcribe/1",)


# --- deadline ----------------------------------------------------------------------------------------------------


def with_deadline(*facts: Fact) -> Story:
    step = created(JobOptions(), deadline_at=START + timedelta(hours=1))
    return told(Story(step.job, list(step.events)), *facts)


@pytest.mark.parametrize("facts", [(), (RECEIVED,), (RECEIVED, VALIDATED, CLAIMED, dispatched("transcribe"))])
def test_a_job_is_given_up_at_its_deadline_and_not_before(facts: tuple[Fact, ...]) -> None:
    story = with_deadline(*facts)
    assert story.wait(3599).tell(JobOverdue()).job.state is not JobState.FAILED
    step = story.wait(1).tell(JobOverdue())
    assert (story.job.state, story.job.error and story.job.error.code) == (JobState.FAILED, "job.overdue")
    assert story.types[-1] == "job.failed"
    assert step.cancel == (("call/transcribe/1",) if len(facts) > 2 else ())


def test_a_job_without_a_deadline_is_never_overdue() -> None:
    story = half_done().wait(1e9)
    assert advance(story.job, JobOverdue(), story.now).job is story.job


def test_a_retry_has_all_the_time_it_needs() -> None:
    story = with_deadline(RECEIVED, VALIDATED, CLAIMED).wait(3600)
    story.tell(JobOverdue(), JobRetried(), JobOverdue())
    assert story.job.state is JobState.RUNNING and story.job.deadline_at is None


# --- services that are away ----------------------------------------------------------------------------------------


def test_an_attempt_that_failed_for_want_of_a_service_is_no_failure_and_waits_ever_longer() -> None:
    story, waits = told(Story.running(), dispatched("diarize")), []
    for attempt in range(1, 10):
        story.tell(failed("transcribe", attempt, code="service.unavailable"))
        stage = story.job.stages["transcribe"]
        assert (stage.state, stage.failures) == ("pending", 0)
        waits.append((stage.not_before - story.now).total_seconds())
        story.wait(waits[-1]).tell(CLAIMED)
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60, 60]


def test_a_service_that_never_comes_back_fails_the_job_in_the_end() -> None:
    story = told(Story.running(), dispatched("diarize"))
    while story.job.state is JobState.RUNNING:
        attempt = story.job.stages["transcribe"].attempt
        story.tell(failed("transcribe", attempt, code="service.unavailable"))
        story.wait(60).tell(CLAIMED)
    assert story.job.error and story.job.error.code == "service.unavailable"
    assert story.job.stages["transcribe"].attempt == MAX_LOST_ATTEMPTS
