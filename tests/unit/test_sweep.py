"""What a sweep finds, with real stores, a clock that is told the time, and a runner that keeps what it is given."""

import pytest

from infra.pipeline.control import cancel_job, delete_job, retry_job
from infra.pipeline.dispatch import apply_fact, dispatch_due
from infra.pipeline.intake import create_job, receive_upload
from infra.pipeline.sweep import sweep
from infra.wiring import GivenServices, Services
from shared.advance import advance
from shared.errors import PipelineError
from shared.events import JobCanceled, Metrics, StageCompleted, StageProgressed
from shared.jobs import Job, JobState
from shared.media import ObjectRef
from shared.options import JobOptions
from shared.ports import Call, CallState
from shared.retention import Retention


def uploaded(services: Services) -> Job:
    created = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions(diarize=False))
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{created.job.job_id}/media")
    receive_upload(services, services.objects.write(ref, b"RIFF", content_type=""))
    return services.jobs.get(created.job.job_id)


def dispatched(services: Services) -> str:
    job_id = uploaded(services).job_id
    dispatch_due(services, job_id)
    return job_id


def transcribe(services: Services, job_id: str) -> tuple[str, int, str | None]:
    stage = services.jobs.get(job_id).stages["transcribe"]
    return stage.state, stage.attempt, stage.error.code if stage.error else None


def test_a_quiet_sweep_does_nothing(services: Services) -> None:
    job_id = dispatched(services)
    before = services.jobs.get(job_id)
    found = sweep(services)
    assert (found.published, found.dispatched, found.ended_attempts, found.expired, found.revalidated) == (0,) * 5
    assert services.jobs.get(job_id) == before


def test_an_unpublished_event_is_published(services: Services) -> None:
    job_id = uploaded(services).job_id
    depth = services.events.depth()
    services.jobs.update(job_id, lambda job: advance(job, JobCanceled(), services.clock.now()))
    assert sweep(services).published == 1
    assert services.events.depth() == depth + 1
    assert sweep(services).published == 0


def test_an_upload_that_did_not_come_in_time_expires(services: Services) -> None:
    created = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
    assert sweep(services).expired == 0
    services.clock.pass_by(hours=1)
    assert sweep(services).expired == 0  # it may have begun in the last minute
    services.clock.pass_by(hours=1)
    assert sweep(services).expired == 1
    assert services.jobs.get(created.job.job_id).state is JobState.EXPIRED


def test_an_upload_whose_finalize_event_was_lost_is_taken_up_and_not_expired(services: Services) -> None:
    created = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions(diarize=False))
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{created.job.job_id}/media")
    services.objects.write(ref, b"RIFF", content_type="")
    services.clock.pass_by(hours=30)
    found = sweep(services)
    assert (found.expired, found.revalidated) == (0, 1)
    assert services.jobs.get(created.job.job_id).state is JobState.RUNNING


def test_an_upload_whose_finalize_event_is_late_is_looked_for_ever_less_often(services: Services) -> None:
    created = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions(diarize=False))
    started, looks = services.clock.now(), []
    stat = services.objects.stat
    services.objects.stat = lambda ref: (looks.append(services.clock.now()), stat(ref))[1]
    for _ in range(3600):
        services.clock.pass_by(seconds=1)
        sweep(services)
    minutes = sorted({int((look - started).total_seconds() // 60) for look in looks})
    assert minutes == [1, 2, 4, 8, 16, 32, 60]  # the last because then its URL has expired
    services.clock.pass_by(minutes=5)
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{created.job.job_id}/media")
    services.objects.write(ref, b"RIFF", content_type="")
    assert sweep(services).revalidated == 1
    assert services.jobs.get(created.job.job_id).state is JobState.RUNNING


def test_a_stage_that_no_event_started_is_started(services: Services) -> None:
    job_id = uploaded(services).job_id
    assert sweep(services).dispatched == 1
    assert transcribe(services, job_id) == ("dispatched", 1, None)


def test_a_lost_call_is_repeated_at_once(services: Services) -> None:
    job_id = dispatched(services)
    services.runner.calls.clear()
    assert sweep(services).ended_attempts == 1
    assert transcribe(services, job_id) == ("dispatched", 2, "stage.lost")  # the error says why there is a second


def test_a_result_whose_report_was_lost_is_gathered_from_the_runner(services: Services) -> None:
    job_id = dispatched(services)
    report = StageCompleted(stage="transcribe", attempt=1, metrics=Metrics(audio_s=2.0))
    words = ObjectRef(bucket=services.settings.results_bucket, name=f"t/{job_id}/words.json")
    recognition = '{"language": "en", "duration_s": 2.0, "segments": [], "model": "x"}'
    services.objects.write(words, recognition.encode(), content_type="application/json")
    services.runner.calls[f"{job_id}/transcribe/1"] = Call(CallState.SUCCEEDED, report=report)
    assert sweep(services).ended_attempts == 1
    job = services.jobs.get(job_id)
    assert job.stages["transcribe"].metrics == report.metrics
    assert [artifact.object.name for artifact in job.stages["transcribe"].artifacts] == [words.name]
    assert job.state is JobState.COMPLETED and transcribe(services, job_id) == ("completed", 1, None)


@pytest.mark.parametrize(
    ("kept", "code"),
    [
        (StageCompleted(stage="transcribe", attempt=1), "stage.artifact_missing"),  # the store knows better
        (StageCompleted(stage="transcribe", attempt=7), "stage.lost"),
        (None, "stage.lost"),
    ],
)
def test_a_call_that_succeeded_without_a_result_is_repeated(
    services: Services, kept: StageCompleted | None, code: str
) -> None:
    job_id = dispatched(services)
    services.runner.calls[f"{job_id}/transcribe/1"] = Call(CallState.SUCCEEDED, report=kept)
    assert sweep(services).ended_attempts == 1
    assert transcribe(services, job_id)[2] == code


def test_time_in_the_queue_of_a_runner_does_not_count_and_time_at_work_does(services: Services) -> None:
    job_id = dispatched(services)
    services.clock.pass_by(hours=7)
    assert sweep(services).ended_attempts == 0
    apply_fact(services, job_id, StageProgressed(stage="transcribe", attempt=1, progress=0.0))
    services.clock.pass_by(hours=3)
    assert sweep(services).ended_attempts == 0
    services.clock.pass_by(hours=2)
    assert sweep(services).ended_attempts == 1
    assert transcribe(services, job_id)[2] == "stage.timeout"
    assert services.runner.poll(f"{job_id}/transcribe/1").state is CallState.FAILED


def test_an_attempt_that_never_begins_is_given_up_when_its_urls_have_ended(services: Services) -> None:
    job_id = dispatched(services)
    services.clock.pass_by(hours=11)
    assert sweep(services).ended_attempts == 0
    services.clock.pass_by(hours=1)
    assert sweep(services).ended_attempts == 1
    assert transcribe(services, job_id)[2] == "stage.timeout"
    assert services.runner.poll(f"{job_id}/transcribe/1").state is CallState.FAILED


def test_a_runner_that_is_away_is_asked_once_and_keeps_nothing_else_waiting(services: Services) -> None:
    running = [dispatched(services) for _ in range(5)]
    waiting = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions()).job
    services.clock.pass_by(hours=2)
    services.runner.down = True
    found = sweep(services)
    assert (found.runner_is_away, found.ended_attempts, services.runner.polls) == (True, 0, 1)
    assert services.jobs.get(waiting.job_id).state is JobState.EXPIRED
    services.runner.down, services.runner.calls = False, {}
    assert sweep(services).ended_attempts == len(running)


def test_events_that_the_topic_does_not_take_keep_nothing_else_waiting(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, canceled = dispatched(services), uploaded(services).job_id
    services.runner.calls.clear()
    services.jobs.update(canceled, lambda job: advance(job, JobCanceled(), services.clock.now()))

    def refuse(_: object) -> None:
        raise PipelineError("service.unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(services.events, "publish", refuse)
        assert sweep(services).published == 0
    assert transcribe(services, lost)[2] == "stage.lost"
    assert sweep(services).published == 2


def test_more_events_than_a_page_holds_are_published_at_once(services: Services) -> None:
    job_ids = [uploaded(services).job_id for _ in range(7)]
    for job_id in job_ids:
        services.jobs.update(job_id, lambda job: advance(job, JobCanceled(), services.clock.now()))
    assert sweep(services, page_size=3).published == 7


def test_a_stage_that_no_runner_took_stays_ready_says_why_and_is_tried_again(services: Services) -> None:
    services.runner.down = True
    job_id = dispatched(services)
    assert transcribe(services, job_id) == ("pending", 1, "service.unavailable")
    services.clock.pass_by(seconds=4)
    assert sweep(services).dispatched == 0
    services.runner.down = False
    services.clock.pass_by(seconds=2)
    assert sweep(services).dispatched == 1
    assert transcribe(services, job_id)[0] == "dispatched"


def test_a_validation_that_nobody_finished_is_finished(services: Services) -> None:
    services.prober.broken = True
    with pytest.raises(PipelineError):
        uploaded(services)
    (job,) = services.jobs.list(states=[JobState.VALIDATING])
    services.prober.broken = False
    assert sweep(services).revalidated == 0
    services.clock.pass_by(minutes=5)
    assert sweep(services).revalidated == 1
    assert services.jobs.get(job.job_id).state is JobState.RUNNING


def test_a_job_that_cannot_be_mended_keeps_no_other_waiting(services: Services) -> None:
    services.prober.broken = True
    with pytest.raises(PipelineError):
        uploaded(services)
    created = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
    services.clock.pass_by(hours=2)
    assert sweep(services).expired == 1
    assert services.jobs.get(created.job.job_id).state is JobState.EXPIRED


def test_every_page_of_jobs_is_swept(services: Services) -> None:
    for _ in range(7):
        create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
        services.clock.pass_by(seconds=1)
    services.clock.pass_by(hours=2)
    assert sweep(services, page_size=3).expired == 7


def kept(services: Services, days: float | None) -> str:
    return create_job(
        services, tenant_id="t", filename="", content_type="", options=JobOptions(), retention_days=days
    ).job.job_id


@pytest.mark.parametrize(("own_days", "deployments_days", "gone_after"), [(2.0, None, 2), (2.0, 5.0, 2), (5.0, 2.0, 2)])
def test_a_job_is_deleted_after_the_shorter_of_its_own_and_the_deployments_retention(
    services: GivenServices, own_days: float, deployments_days: float | None, gone_after: int
) -> None:
    update = {"retention_days": deployments_days}
    object.__setattr__(services, "settings", services.settings.model_copy(update=update))
    other, job_id = kept(services, None), kept(services, own_days)
    services.clock.pass_by(days=3)  # it has ended late: only from then on its days count
    assert sweep(services).retired == 0
    services.clock.pass_by(days=gone_after, seconds=-1)
    assert sweep(services).retired == 0
    services.clock.pass_by(hours=1)
    assert sweep(services).retired == (1 if deployments_days is None or own_days < deployments_days else 2)
    assert services.jobs.get(job_id).state.is_gone
    assert services.jobs.get(other).state.is_gone == (deployments_days == gone_after)


def test_a_job_that_is_gone_is_forgotten_by_its_retention(services: GivenServices) -> None:
    job_id = kept(services, 1.0)
    delete_job(services, job_id)
    services.clock.pass_by(days=1)
    assert len(services.documents.due(Retention, services.clock.now())) == 1
    assert sweep(services).retired == 0
    services.clock.pass_by(days=9)
    assert services.documents.due(Retention, services.clock.now()) == []


def hurried(services: GivenServices, **settings: float) -> None:
    """From now on each sweep has time for one job of each walk alone."""
    object.__setattr__(services, "settings", services.settings.model_copy(update={"sweep_budget_s": 1e-9, **settings}))


def states(services: Services) -> list[JobState]:
    return [job.state for job in services.jobs.list()]


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_what_one_sweep_does_not_come_to_the_next_ones_do(services: GivenServices, page_size: int) -> None:
    for _ in range(5):
        create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
    services.clock.pass_by(hours=2)
    hurried(services)
    for done in range(1, 6):
        assert sweep(services, page_size=page_size).expired == 1
        assert states(services) == [JobState.EXPIRED] * done + [JobState.AWAITING_UPLOAD] * (5 - done)


def test_jobs_that_keep_coming_do_not_keep_the_oldest_waiting(services: GivenServices) -> None:
    create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
    services.clock.pass_by(hours=2)
    hurried(services)

    def expired_beside_two_newer() -> int:
        for _ in range(2):
            services.clock.pass_by(seconds=1)
            create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
        return sweep(services).expired

    # Two are newer when the first sweep begins; what comes after that waits for the next walk.
    assert [expired_beside_two_newer() for _ in range(3)] == [0, 0, 1]


def test_the_retention_goes_on_behind_jobs_that_it_must_keep(services: GivenServices) -> None:
    kept, old = uploaded(services).job_id, uploaded(services).job_id
    newest_first = sorted((kept, old), reverse=True)
    for job_id in newest_first:
        apply_fact(services, job_id, JobCanceled())
    services.clock.pass_by(days=2)
    retry_job(services, newest_first[0])
    cancel_job(services, newest_first[0])
    hurried(services, retention_days=1.0)
    assert [sweep(services).retired for _ in range(3)] == [0, 1, 0]
    assert services.jobs.get(newest_first[1]).state is JobState.DELETING


def test_a_sweep_that_is_broken_off_leaves_nothing_out(services: GivenServices) -> None:
    for _ in range(4):
        create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions())
    services.clock.pass_by(hours=2)
    hurried(services)
    sweep(services)
    # A second one beside it, as after a crash or by an impatient scheduler, begins where the first did.
    bookmark = services.jobs.bookmark("sweep")
    sweep(services)
    services.jobs.set_bookmark("sweep", bookmark)
    for _ in range(4):
        sweep(services)
    assert set(states(services)) == {JobState.EXPIRED}
