"""The job's state machine: what each fact does, and that nothing else does anything.

One file: the machine is one function, and its rules are read beside each other.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.advance import (
    DEFERRAL_S,
    FIRST_BACKOFF_S,
    MAX_BACKOFF_S,
    MAX_LOST_ATTEMPTS,
    MAX_MESSAGE_CHARACTERS,
    MAX_NOTICES,
    advance,
)
from shared.claims import MAX_TAKEOVERS, due_stages
from shared.errors import CATALOGUE, PipelineError
from shared.events import (
    Fact,
    JobCanceled,
    JobCompleted,
    JobDeleted,
    JobErased,
    JobExpired,
    JobRetried,
    MediaRejected,
    StageCompleted,
    StageDeferred,
    StageDispatched,
    StageFailed,
)
from shared.jobs import Job, JobState, StageStatus
from shared.options import JobOptions
from shared.stages import STAGES
from shared.transcript import NO_SPEECH, Notice
from tests.facts import (
    CLAIMED,
    JOB_ID,
    LEASE_S,
    RECEIVED,
    START,
    UPLOAD,
    VALIDATED,
    Story,
    completed,
    created,
    dispatched,
    error,
    failed,
    progressed,
)

REJECTED = MediaRejected(error=error("media.no_audio"))


def states(job: Job) -> dict[str, str]:
    return {name: str(stage.state) for name, stage in job.stages.items()}


# --- the whole way -----------------------------------------------------------------------------------------------


def test_a_new_job_waits_for_its_upload_and_says_so() -> None:
    step = created()
    assert (step.job.state, step.job.revision) == ("awaiting_upload", 1)
    assert set(states(step.job).values()) == {"pending"}
    assert [(event.type, event.jobid, event.tenantid) for event in step.events] == [("job.created", JOB_ID, "acme")]


def test_the_whole_way() -> None:
    story = Story.begin()
    story.tell(RECEIVED)
    assert (story.job.state, story.job.stages["validate"].state) == ("validating", "running")
    story.tell(VALIDATED)
    assert (story.job.state, story.job.stages["validate"].state) == ("running", "completed")
    assert due_stages(story.job, story.now) == ("transcribe", "diarize")
    assert story.tell(CLAIMED).dispatch == ("transcribe", "diarize")
    assert due_stages(story.job, story.now) == ()
    story.tell(dispatched("transcribe"), dispatched("diarize"), progressed("transcribe", 0.5, text="so far"))
    assert story.job.partial_text == "so far"
    story.tell(completed("diarize"))
    assert story.tell(CLAIMED).dispatch == ()
    story.tell(completed("transcribe"))
    assert story.tell(CLAIMED).dispatch == ("attribute",)
    story.tell(completed("attribute"))
    assert story.tell(CLAIMED).dispatch == ("caption",)
    story.tell(completed("caption"))
    assert story.types == [
        "job.created", "media.validated", "stage.completed", "stage.completed", "stage.completed", "stage.completed",
        "job.completed",
    ]  # fmt: skip
    assert (story.job.state, story.job.progress, story.job.partial_text) == ("completed", 1.0, "")
    files = ["words.json", "turns.json", "transcript.json", "captions.srt", "captions.vtt"]
    assert [artifact.filename for artifact in story.job.artifacts] == files
    ending = story.events[-1].fact
    assert isinstance(ending, JobCompleted)
    assert ending.artifacts == story.job.artifacts


def test_every_change_grows_the_revision_by_one_and_names_its_events_after_it() -> None:
    story = Story.running().complete()
    assert story.job.revision == 1 + 3 + 4 + 4
    assert len({event.id for event in story.events}) == len(story.events)
    assert story.events[-1].id == f"{JOB_ID}/{story.job.revision}/job.completed"


def test_without_diarization_nobody_waits_for_it() -> None:
    story = Story.begin(JobOptions(diarize=False), RECEIVED, VALIDATED)
    assert story.tell(CLAIMED).dispatch == ("transcribe",)
    assert story.job.stages["diarize"].state is StageStatus.SKIPPED
    story.complete()
    assert (story.job.state, story.job.progress) == ("completed", 1.0)
    assert "turns.json" not in {artifact.filename for artifact in story.job.artifacts}


def test_a_rejected_recording_ends_the_job() -> None:
    story = Story.begin(None, RECEIVED, REJECTED)
    assert (story.job.state, story.job.error) == ("rejected", REJECTED.error)
    assert story.job.stages["validate"].state is StageStatus.FAILED
    assert story.types == ["job.created", "media.rejected"]


def test_an_upload_that_never_comes_expires() -> None:
    story = Story.begin(None, JobExpired())
    assert story.job.state is JobState.EXPIRED
    assert story.job.error == error("upload.expired")
    assert story.types == ["job.created", "job.expired"]


@pytest.mark.parametrize("facts", [(RECEIVED,), (RECEIVED, VALIDATED), (RECEIVED, VALIDATED, CLAIMED)])
def test_an_upload_that_came_does_not_expire(facts: tuple[Fact, ...]) -> None:
    story = Story.begin(None, *facts)
    assert advance(story.job, JobExpired(), story.now).job is story.job


@pytest.mark.parametrize("facts", [(), (RECEIVED,), (RECEIVED, VALIDATED), (RECEIVED, VALIDATED, CLAIMED)])
def test_a_job_can_be_canceled_until_its_end(facts: tuple[Fact, ...]) -> None:
    story = Story.begin(None, *facts)
    story.tell(JobCanceled())
    assert story.job.state is JobState.CANCELED
    assert story.types[-1] == "job.canceled"


def test_canceling_stops_the_calls_that_are_under_way() -> None:
    story = Story.running()
    story.tell(dispatched("transcribe"), dispatched("diarize"), completed("diarize"))
    assert story.tell(JobCanceled()).cancel == ("call/transcribe/1",)


def test_only_advance_itself_completes_or_fails_a_job() -> None:
    with pytest.raises(PipelineError, match=r"job\.completed does not drive a job"):
        advance(created().job, JobCompleted(artifacts=()), START)


# --- what no longer applies --------------------------------------------------------------------------------------

NO_OPS: dict[str, Callable[[], tuple[Story, Fact]]] = {
    "an upload twice": lambda: (Story.begin(None, RECEIVED), RECEIVED),
    "another upload": lambda: (
        Story.begin(None, RECEIVED),
        RECEIVED.model_copy(update={"object": UPLOAD.model_copy(update={"generation": 2})}),
    ),
    "an upload while running": lambda: (Story.running(), RECEIVED),
    "a verdict before the upload": lambda: (Story.begin(), VALIDATED),
    "a refusal before the upload": lambda: (Story.begin(), REJECTED),
    "a verdict twice": lambda: (Story.running(), VALIDATED),
    "a refusal after the verdict": lambda: (Story.running(), REJECTED),
    "a claim before the upload": lambda: (Story.begin(), CLAIMED),
    "a claim while validating": lambda: (Story.begin(None, RECEIVED), CLAIMED),
    "a claim of what is claimed": lambda: (Story.running(), CLAIMED),
    "validation completed as if by a runner": lambda: (Story.begin(None, RECEIVED), completed("validate")),
    "validation failed as if by a runner": lambda: (Story.begin(None, RECEIVED), failed("validate")),
    "a stage that waits": lambda: (Story.running(), completed("attribute")),
    "a stage that waits, by number": lambda: (Story.running(), completed("attribute", attempt=0)),
    "an unknown stage": lambda: (Story.running(), StageCompleted(stage="translate", attempt=1)),
    "a skipped stage": lambda: (Story.running(JobOptions(diarize=False)), completed("diarize")),
    "an attempt that never was": lambda: (Story.running(), completed("transcribe", attempt=2)),
    "a call twice": lambda: (_told(Story.running(), dispatched("diarize")), dispatched("diarize")),
    "a deferral of an accepted call": lambda: (
        _told(Story.running(), dispatched("diarize")),
        StageDeferred(stage="diarize", attempt=1, error=error("service.unavailable")),
    ),
    "the same progress": lambda: (_told(Story.running(), progressed("diarize", 0.5)), progressed("diarize", 0.5)),
    "less progress": lambda: (_told(Story.running(), progressed("diarize", 0.5)), progressed("diarize", 0.25)),
    "progress after completion": lambda: (
        _told(Story.running(), completed("diarize")),
        progressed("diarize", 0.5, text="late"),
    ),
    "completed twice": lambda: (_told(Story.running(), completed("diarize")), completed("diarize")),
    "failed after completion": lambda: (_told(Story.running(), completed("diarize")), failed("diarize")),
    "failed twice": lambda: (_told(Story.running(), failed("diarize")), failed("diarize")),
    "completed while a retry waits": lambda: (_told(Story.running(), failed("diarize")), completed("diarize")),
    "completed after a retry began": lambda: (
        _told(_told(Story.running(), failed("diarize")).wait(60), CLAIMED),
        completed("diarize"),
    ),
    "progress of an earlier attempt": lambda: (
        _told(_told(Story.running(), failed("diarize")).wait(60), CLAIMED),
        progressed("diarize", 0.9),
    ),
}


def _told(story: Story, *facts: Fact) -> Story:
    story.tell(*facts)
    return story


@pytest.mark.parametrize("case", NO_OPS.values(), ids=NO_OPS.keys())
def test_a_fact_that_no_longer_applies_changes_nothing(case: Callable[[], tuple[Story, Fact]]) -> None:
    story, fact = case()
    step = advance(story.job, fact, story.now)
    assert step.job is story.job
    assert (step.events, step.dispatch, step.cancel) == ((), (), ())


ENDINGS: dict[JobState, Callable[[], Story]] = {
    JobState.COMPLETED: lambda: Story.running().complete(),
    JobState.REJECTED: lambda: Story.begin(None, RECEIVED, REJECTED),
    JobState.FAILED: lambda: _told(Story.running(), failed("diarize", code="media.corrupt")),
    JobState.CANCELED: lambda: _told(Story.running(), JobCanceled()),
    JobState.EXPIRED: lambda: Story.begin(None, JobExpired()),
    JobState.DELETING: lambda: _told(Story.running(), JobDeleted()),
    JobState.DELETED: lambda: _told(Story.running(), JobDeleted(), JobErased()),
}


@pytest.mark.parametrize("state", ENDINGS)
def test_an_end_is_an_end(state: JobState) -> None:
    story = ENDINGS[state]().wait(24 * 3600)
    assert story.job.state is state
    assert state.is_terminal
    anything: list[Fact] = [RECEIVED, VALIDATED, REJECTED, CLAIMED, JobCanceled(), JobExpired()]
    for stage in STAGES:
        anything += [completed(stage), failed(stage), progressed(stage, 1.0), completed(stage, 2)]
        anything += [StageDeferred(stage=stage, attempt=1, error=error("service.unavailable"))]
    for fact in anything:
        step = advance(story.job, fact, story.now)
        assert step.job is story.job
        assert (step.events, step.dispatch, step.cancel) == ((), (), ())


def test_every_terminal_state_has_an_ending_here() -> None:
    assert set(ENDINGS) == {state for state in JobState if state.is_terminal}


# --- calls that came too late ------------------------------------------------------------------------------------


def test_a_call_accepted_after_the_job_was_canceled_is_stopped() -> None:
    story = _told(Story.running(), JobCanceled())
    step = advance(story.job, dispatched("transcribe"), story.now)
    assert step.job is story.job
    assert step.cancel == ("call/transcribe/1",)


def test_a_call_accepted_after_the_job_was_canceled_and_retried_is_stopped() -> None:
    story = _told(Story.running(), JobCanceled(), JobRetried())
    assert story.job.stages["transcribe"].state == "pending"  # and is not claimed again yet
    step = advance(story.job, dispatched("transcribe"), story.now)
    assert step.job is story.job
    assert step.cancel == ("call/transcribe/1",)


def test_a_call_that_nobody_has_stopped_yet_is_stopped_by_who_claims_its_stage_again() -> None:
    story = _told(Story.running(), dispatched("transcribe"), completed("diarize"), JobCanceled(), JobRetried())
    assert story.job.stages["transcribe"].call_id == "call/transcribe/1"
    assert advance(story.job, dispatched("transcribe"), story.now).cancel == ()  # it will be
    step = story.tell(CLAIMED)
    assert (step.dispatch, step.cancel) == (("transcribe",), ("call/transcribe/1",))
    assert (step.job.stages["transcribe"].attempt, step.job.stages["transcribe"].call_id) == (2, None)


def test_a_call_that_a_retry_has_left_behind_is_stopped_when_the_job_is_canceled_again() -> None:
    story = _told(Story.running(), dispatched("transcribe"), JobCanceled(), JobRetried())
    assert story.tell(JobCanceled()).cancel == ("call/transcribe/1",)
    story.tell(JobRetried())
    assert story.tell(JobDeleted()).cancel == ("call/transcribe/1",)


def test_a_second_call_of_one_attempt_is_stopped() -> None:
    story = _told(Story.running(), dispatched("transcribe"))
    second = StageDispatched(stage="transcribe", attempt=1, call_id="another")
    step = advance(story.job, second, story.now)
    assert step.job is story.job
    assert step.cancel == ("another",)


def test_a_call_of_an_earlier_attempt_is_stopped() -> None:
    story = _told(_told(Story.running(), failed("transcribe")).wait(60), CLAIMED)
    assert advance(story.job, dispatched("transcribe"), story.now).cancel == ("call/transcribe/1",)


@pytest.mark.parametrize("report", [completed("transcribe"), failed("transcribe")])
def test_a_call_that_reported_its_end_before_it_was_noted_is_left_alone(report: Fact) -> None:
    story = _told(Story.running(), report)
    step = advance(story.job, dispatched("transcribe"), story.now)
    assert step.job is story.job
    assert step.cancel == ()


def test_a_report_may_come_before_its_call_is_noted() -> None:
    story = _told(Story.running(), progressed("transcribe", 0.1), dispatched("transcribe"))
    stage = story.job.stages["transcribe"]
    assert (stage.state, stage.call_id, stage.lease_expires_at) == ("running", "call/transcribe/1", None)


# --- progress ----------------------------------------------------------------------------------------------------


def test_progress_is_weighted_and_of_the_stages_that_apply() -> None:
    both = _told(Story.running(), progressed("transcribe", 0.5))
    alone = _told(Story.running(JobOptions(diarize=False)), progressed("transcribe", 0.5))
    assert both.job.progress == pytest.approx((1 + 0.5 * 60) / 100)
    assert alone.job.progress == pytest.approx((1 + 0.5 * 60) / 65, abs=1e-4)


def test_progress_does_not_fall_when_an_attempt_starts_anew() -> None:
    story = _told(Story.running(), progressed("transcribe", 0.8))
    before = story.job.progress
    story.tell(failed("transcribe"))
    story.wait(60).tell(CLAIMED, progressed("transcribe", 0.1, attempt=2, text="again"))
    assert story.job.progress == before
    assert story.job.stages["transcribe"].progress == 0.8
    assert story.job.partial_text == "again"


def test_progress_without_text_leaves_the_text() -> None:
    story = _told(Story.running(), progressed("transcribe", 0.1, text="hello"), progressed("diarize", 0.4))
    assert story.job.partial_text == "hello"


# --- failures ----------------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_after_a_growing_pause() -> None:
    story = Story.running()
    waits = []
    for attempt in range(1, STAGES["transcribe"].max_attempts):
        story.tell(failed("transcribe", attempt))
        stage = story.job.stages["transcribe"]
        assert (stage.state, stage.failures, stage.error) == ("pending", attempt, error("stage.crashed"))
        assert stage.not_before is not None
        waits.append((stage.not_before - story.now).total_seconds())
        just_before = stage.not_before - timedelta(microseconds=1)
        assert "transcribe" not in due_stages(story.job, just_before)
        assert "transcribe" in due_stages(story.job, stage.not_before)
        story.now = stage.not_before
        assert "transcribe" in story.tell(CLAIMED).dispatch
        assert story.job.stages["transcribe"].attempt == attempt + 1
    assert waits == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S]
    assert [event.data["will_retry"] for event in story.events if event.type == "stage.failed"] == [True, True]


def test_the_last_attempt_fails_the_job_and_says_so_once() -> None:
    story = Story.running()
    story.tell(dispatched("diarize"))
    for attempt in range(1, STAGES["transcribe"].max_attempts + 1):
        step = story.tell(dispatched("transcribe", attempt), failed("transcribe", attempt))
        story.wait(60).tell(CLAIMED)
    assert story.job.state is JobState.FAILED
    assert step.cancel == ("call/diarize/1",)
    assert Counter(story.types)["stage.failed"] == 3
    assert Counter(story.types)["job.failed"] == 1
    assert [event.data["will_retry"] for event in story.events if event.type == "stage.failed"] == [True, True, False]


def test_a_permanent_failure_is_not_tried_again_and_stops_the_other_stage() -> None:
    story = Story.running()
    story.tell(dispatched("transcribe"), dispatched("diarize"))
    step = story.tell(failed("transcribe", code="media.corrupt"))
    assert (story.job.state, story.job.error) == ("failed", error("media.corrupt"))
    assert step.cancel == ("call/diarize/1",)
    assert [event.type for event in step.events] == ["stage.failed", "job.failed"]
    assert story.tell(failed("transcribe", code="media.corrupt"), failed("diarize")).events == ()


def test_whether_there_is_a_retry_is_decided_here_whatever_the_reporter_says() -> None:
    story = Story.running()
    boast = StageFailed(stage="transcribe", attempt=1, error=error("media.corrupt"), will_retry=True)
    assert story.tell(boast).events[0].data["will_retry"] is False


def test_a_lost_attempt_uses_up_none_and_is_tried_again_at_once() -> None:
    story = Story.running()
    for attempt in range(1, 10):
        story.tell(failed("transcribe", attempt, "stage.lost"), CLAIMED)
    stage = story.job.stages["transcribe"]
    assert (stage.state, stage.attempt, stage.failures, stage.losses) == ("dispatched", 10, 0, 9)


def test_lost_attempts_are_bounded() -> None:
    story = Story.running()
    for attempt in range(1, MAX_LOST_ATTEMPTS + 1):
        assert story.job.state is JobState.RUNNING
        story.tell(failed("transcribe", attempt, "stage.lost"), CLAIMED)
    assert (story.job.state, story.job.error) == ("failed", error("stage.lost"))


# --- deferral ----------------------------------------------------------------------------------------------------


def deferred(attempt: int) -> StageDeferred:
    return StageDeferred(stage="transcribe", attempt=attempt, error=error("service.unavailable"))


def test_a_stage_that_no_runner_could_take_waits_and_says_why() -> None:
    story = Story.running()
    step = story.tell(deferred(1))
    stage = story.job.stages["transcribe"]
    assert (stage.state, stage.failures, stage.error) == ("pending", 0, error("service.unavailable"))
    assert stage.not_before == story.now + timedelta(seconds=DEFERRAL_S)
    assert step.events == ()
    assert story.wait(DEFERRAL_S).tell(CLAIMED).dispatch == ("transcribe",)


def test_a_long_outage_of_the_runner_uses_up_neither_attempts_nor_losses() -> None:
    story = Story.running(JobOptions(diarize=False))
    for attempt in range(1, 200):
        story.tell(deferred(attempt))
        story.wait(DEFERRAL_S).tell(CLAIMED)
    story.tell(failed("transcribe", 200, "stage.lost"))
    assert story.job.state is JobState.RUNNING
    story.tell(CLAIMED, failed("transcribe", 201))
    assert story.job.state is JobState.RUNNING


# --- claims ------------------------------------------------------------------------------------------------------


def test_a_live_claim_is_left_alone_and_an_expired_one_taken_over_as_the_same_attempt() -> None:
    story = Story.running()
    assert story.wait(LEASE_S - 0.001).tell(CLAIMED).dispatch == ()
    assert story.wait(0.001).tell(CLAIMED).dispatch == ("transcribe", "diarize")
    stage = story.job.stages["transcribe"]
    assert (stage.attempt, stage.takeovers, stage.started_at) == (1, 1, START)
    assert stage.lease_expires_at == story.now + timedelta(seconds=LEASE_S)


def test_an_accepted_call_needs_no_lease() -> None:
    story = _told(Story.running(), dispatched("transcribe"), dispatched("diarize"))
    assert story.wait(10 * LEASE_S).tell(CLAIMED).dispatch == ()


def test_a_call_that_reported_but_was_never_noted_is_claimed_again_so_that_it_can_be_found_lost() -> None:
    story = _told(Story.running(), progressed("transcribe", 0.2), dispatched("diarize"))
    assert story.wait(LEASE_S).tell(CLAIMED).dispatch == ("transcribe",)
    stage = story.job.stages["transcribe"]
    assert (stage.state, stage.attempt, stage.progress) == ("running", 1, 0.2)
    story.tell(dispatched("transcribe"))
    assert story.job.stages["transcribe"].call_id == "call/transcribe/1"


def test_validation_is_not_claimed() -> None:
    story = Story.begin(None, RECEIVED)
    assert story.wait(3600).tell(CLAIMED).dispatch == ()


def crash_until_the_end(story: Story, stage: str) -> int:
    """Claim again and again without a sign of life; return how many times the stage was started."""
    starts = 0
    for _ in range(1000):
        starts += stage in story.wait(LEASE_S).tell(CLAIMED).dispatch
        if story.job.state.is_terminal:
            return starts
    raise AssertionError("a stage was claimed for ever")


def test_a_gpu_stage_whose_dispatcher_always_dies_fails_in_the_end() -> None:
    story = Story.running(JobOptions(diarize=False))
    starts = 1 + crash_until_the_end(story, "transcribe")
    assert starts == STAGES["transcribe"].max_attempts * (1 + MAX_TAKEOVERS)
    assert (story.job.state, story.job.error) == ("failed", error("stage.crashed"))
    assert Counter(story.types)["stage.failed"] == STAGES["transcribe"].max_attempts
    assert Counter(story.types)["job.failed"] == 1


def attributing() -> Story:
    return _told(Story.running(), completed("transcribe"), completed("diarize"), CLAIMED)


def test_a_function_stage_that_kills_its_process_fails_in_the_end() -> None:
    story = attributing()
    starts = 1 + crash_until_the_end(story, "attribute")
    stage = STAGES["attribute"]
    assert starts <= stage.max_attempts * (1 + stage.timeout_s / LEASE_S)
    assert (story.job.state, story.job.error) == ("failed", error("stage.crashed"))


def test_a_slow_function_stage_has_its_full_time_however_often_its_claim_expires() -> None:
    story = attributing()
    while story.now < START + timedelta(seconds=STAGES["attribute"].timeout_s - LEASE_S):
        assert story.wait(LEASE_S).tell(CLAIMED).dispatch == ("attribute",)
    assert story.job.stages["attribute"].takeovers > MAX_TAKEOVERS
    story.tell(completed("attribute"))
    assert story.job.stages["attribute"].state is StageStatus.COMPLETED


def test_a_long_sleep_is_not_a_crash() -> None:
    story = attributing()
    assert story.wait(7 * 24 * 3600).tell(CLAIMED).dispatch == ("attribute",)
    assert story.job.stages["attribute"].failures == 0


def test_what_is_given_up_does_not_keep_others_from_being_claimed_next() -> None:
    story = _told(Story.running(), dispatched("diarize"))
    for _ in range(MAX_TAKEOVERS):
        assert story.wait(LEASE_S).tell(CLAIMED).dispatch == ("transcribe",)
    story.tell(failed("diarize"))
    step = story.wait(LEASE_S).tell(CLAIMED)
    assert [event.data["stage"] for event in step.events] == ["transcribe"]
    assert story.tell(CLAIMED).dispatch == ("diarize",)


# --- the document ------------------------------------------------------------------------------------------------


def test_the_document_is_read_as_it_was_written() -> None:
    story = Story.running().complete()
    assert Job.from_json(story.job.to_json()) == story.job


def test_a_document_of_an_older_version_is_read_and_goes_on_without_what_it_does_not_have() -> None:
    data = Story.running().job.model_dump(mode="json")
    del data["stages"]["diarize"]
    del data["stages"]["transcribe"]["takeovers"]
    data["stages"]["translate"] = {"state": "pending"}
    story = Story(Job.from_data(data), [])
    assert list(story.job.stages) == list(STAGES)
    assert story.job.stages["diarize"].state is StageStatus.SKIPPED
    assert story.complete().job.state is JobState.COMPLETED


def test_what_a_report_says_cannot_fill_the_document() -> None:
    story = Story.running()
    long = "x" * 1_000_000
    notices = tuple(Notice(code="some.code", message=f"{number} {long}") for number in range(100))
    story.tell(completed("diarize").model_copy(update={"notices": (NO_SPEECH, NO_SPEECH, *notices)}))
    story.tell(StageFailed(stage="transcribe", attempt=1, error=error("internal").model_copy(update={"message": long})))
    assert len(story.job.notices) == MAX_NOTICES
    assert story.job.notices.count(NO_SPEECH) == 1
    assert story.job.stages["transcribe"].error is not None
    assert len(story.job.stages["transcribe"].error.message) == MAX_MESSAGE_CHARACTERS
    assert len(story.job.to_json()) < 100_000


# --- any facts in any order --------------------------------------------------------------------------------------

STAGE_NAMES = st.sampled_from([*STAGES, "translate"])
ATTEMPTS = st.integers(0, 4)
# Codes that end a job at once are rare here, so that most stories are long.
CODES = st.sampled_from(["stage.lost", "stage.crashed", "gpu.out_of_memory", "stage.lost", "media.corrupt"])
FACTS = st.one_of(
    st.just(RECEIVED),
    st.just(VALIDATED),
    st.just(CLAIMED),
    st.just(CLAIMED),
    st.builds(dispatched, STAGE_NAMES, ATTEMPTS),
    st.builds(lambda stage, attempt: StageDispatched(stage=stage, attempt=attempt, call_id="x"), STAGE_NAMES, ATTEMPTS),
    st.builds(progressed, STAGE_NAMES, st.floats(0, 1), ATTEMPTS, st.none() | st.text(max_size=2000)),
    st.builds(completed, st.sampled_from(list(STAGES)), ATTEMPTS),
    st.builds(failed, STAGE_NAMES, ATTEMPTS, CODES),
    st.builds(
        lambda stage, attempt: StageDeferred(stage=stage, attempt=attempt, error=error("service.unavailable")),
        STAGE_NAMES,
        ATTEMPTS,
    ),
    st.just(JobExpired()),
)
RARE_ENDS: st.SearchStrategy[Fact] = st.sampled_from([REJECTED, JobCanceled()])
STORIES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 5.0, 20.0, 400.0]), FACTS | FACTS | FACTS | FACTS | RARE_ENDS), max_size=60
)
BEGINNINGS = st.sampled_from([(), (RECEIVED, VALIDATED), (RECEIVED, VALIDATED, CLAIMED)])


@settings(max_examples=300, deadline=None)
@given(diarize=st.booleans(), beginning=BEGINNINGS, told=STORIES)
def test_whatever_comes_in_whatever_order(
    diarize: bool, beginning: tuple[Fact, ...], told: list[tuple[float, Fact]]
) -> None:
    story = Story.begin(JobOptions(diarize=diarize), *beginning)
    for wait_s, fact in told:
        for _ in range(2):  # each fact is delivered twice
            check_step(story, fact)
        story.wait(wait_s)
    check_events(story)
    document = story.job.to_json()
    assert len(document.encode()) < 100_000
    assert Job.from_json(document) == story.job


def check_step(story: Story, fact: Fact) -> None:
    before = story.job
    step = story.tell(fact)
    after = step.job
    if after is before:
        assert (step.events, step.dispatch) == ((), ())
        return
    assert not before.state.is_terminal
    assert after.revision == before.revision + 1
    assert 0.0 <= before.progress <= after.progress <= 1.0
    assert after.job_id == before.job_id
    for name, stage in after.stages.items():
        earlier = before.stages[name]
        assert 0.0 <= earlier.progress <= stage.progress <= 1.0
        assert stage.attempt >= earlier.attempt
        assert stage.failures <= STAGES[name].max_attempts
        assert stage.losses <= MAX_LOST_ATTEMPTS
        if earlier.state.is_done:
            assert stage == earlier
    for name in step.dispatch:
        assert after.stages[name].call_id is None
        assert after.stages[name].lease_expires_at is not None


def check_events(story: Story) -> None:
    ids = Counter(event.id for event in story.events)
    assert not [name for name, count in ids.items() if count > 1]
    done = Counter(event.data["stage"] for event in story.events if event.type == "stage.completed")
    assert not [name for name, count in done.items() if count > 1]
    ends = [event.type for event in story.events if event.type in ("job.completed", "job.failed", "job.canceled")]
    assert len(ends) == (story.job.state in ("completed", "failed", "canceled"))
    assert all(event.fact.type == event.type for event in story.events)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_job_whose_attempts_all_end_reaches_an_end(data: st.DataObject) -> None:
    """Liveness: whatever becomes of each attempt, a job ends after a bounded number of them."""
    story = Story.begin(JobOptions(), RECEIVED, VALIDATED)
    codes = [code for code, spec in CATALOGUE.items() if spec.retryable]
    for _ in range(400):
        for name in story.wait(MAX_BACKOFF_S).tell(CLAIMED).dispatch:
            attempt = story.job.stages[name].attempt
            ending = data.draw(st.sampled_from(["completed", "dies", "stage.lost", *codes]))
            if ending == "completed":
                story.tell(completed(name, attempt))
            elif ending != "dies":
                story.tell(failed(name, attempt, ending))
        if story.job.state.is_terminal:
            return
    raise AssertionError(f"still {story.job.state}: {states(story.job)}")
