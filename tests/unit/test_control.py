"""Wishes and what follows from them: calls are stopped, stages are tried again, objects and history are gone."""

from collections.abc import Callable

import pytest

from infra.pipeline.control import cancel_job, delete_job, find_job, retry_job
from infra.pipeline.dispatch import apply_fact
from infra.pipeline.intake import create_job, receive_upload, upload_ref
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS, orchestrate_event
from infra.pipeline.sweep import sweep
from infra.pipeline.transcripts import read_transcript
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.events import StageFailed
from shared.jobs import Job, JobState
from shared.media import ObjectInfo, ObjectRef
from shared.options import JobOptions
from shared.ports import CallState

WORDS = b'{"language": "en", "duration_s": 2.0, "segments": [], "model": "x"}'


def created(services: GivenServices, **options: object) -> Job:
    return create_job(
        services, tenant_id="t", filename="secret.wav", content_type="", options=JobOptions(diarize=False), **options
    ).job


def upload(services: GivenServices, job: Job) -> ObjectInfo:
    return services.objects.write(upload_ref(services, "t", job.job_id), b"RIFF", content_type="")


def running(services: GivenServices) -> str:
    """A job that is being transcribed."""
    job = created(services)
    receive_upload(services, upload(services, job))
    hear(services, job.job_id)
    return job.job_id


def write(services: GivenServices, job_id: str, name: str, content: bytes) -> ObjectInfo:
    ref = ObjectRef(bucket=services.settings.results_bucket, name=f"t/{job_id}/{name}")
    return services.objects.write(ref, content, content_type="application/json")


def hear(services: GivenServices, job_id: str) -> None:
    """Let ``orchestrate`` hear of everything that was published of a job, as if all came again."""
    for event in services.jobs.history(job_id):
        if event.type in ORCHESTRATED_EVENTS:
            orchestrate_event(services, event)


def names(services: GivenServices) -> list[str]:
    buckets = (services.settings.uploads_bucket, services.settings.results_bucket)
    return [name for bucket in buckets for name in services.objects.names(bucket)]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code


def test_canceling_stops_the_call_through_the_event(services: GivenServices) -> None:
    job_id = running(services)
    assert cancel_job(services, job_id).state is JobState.CANCELED
    call = f"{job_id}/transcribe/1"
    assert services.runner.calls[call].state is CallState.RUNNING  # whoever cancels need not know a runner
    hear(services, job_id)
    assert services.runner.calls[call].state is CallState.FAILED


def test_an_event_of_the_cancellation_that_comes_late_stops_no_call_of_the_retry(services: GivenServices) -> None:
    job_id = running(services)
    cancel_job(services, job_id)
    retry_job(services, job_id)
    hear(services, job_id)
    assert services.runner.calls[f"{job_id}/transcribe/2"].state is CallState.RUNNING
    assert services.jobs.get(job_id).stages["transcribe"].call_id == f"{job_id}/transcribe/2"


def test_a_failed_stage_is_tried_again_and_the_job_completes(services: GivenServices) -> None:
    job_id = running(services)
    error = PipelineError("media.corrupt").info
    apply_fact(services, job_id, StageFailed(stage="transcribe", attempt=1, error=error))
    assert services.jobs.get(job_id).state is JobState.FAILED
    assert retry_job(services, job_id).state is JobState.RUNNING
    hear(services, job_id)
    assert services.jobs.get(job_id).stages["transcribe"].call_id == f"{job_id}/transcribe/2"


def test_what_has_ended_cannot_be_canceled_and_what_did_not_fail_not_retried(services: GivenServices) -> None:
    waiting = created(services)
    assert cancel_job(services, waiting.job_id) == cancel_job(services, waiting.job_id)
    assert refused(lambda: retry_job(services, waiting.job_id)) == "job.not_retryable"
    expired = created(services)
    services.clock.pass_by(days=1)
    sweep(services)
    assert refused(lambda: cancel_job(services, expired.job_id)) == "job.not_cancelable"
    for wish in (cancel_job, retry_job, delete_job, find_job):
        assert refused(lambda wish=wish: wish(services, "job_x")) == "job.not_found"


def test_a_deleted_job_leaves_a_line_of_the_audit_log_and_nothing_else(services: GivenServices) -> None:
    job_id = running(services)
    write(services, job_id, "words.json", WORDS)
    delete_job(services, job_id)
    hear(services, job_id)
    assert names(services) == []
    assert services.runner.calls[f"{job_id}/transcribe/1"].state is CallState.FAILED
    assert [event.type for event in services.jobs.history(job_id)] == []
    line = services.jobs.get(job_id)
    assert (line.state, line.tenant_id, line.filename) == (JobState.DELETING, "t", "")
    for wish in (find_job, cancel_job, retry_job, read_transcript):
        assert refused(lambda wish=wish: wish(services, job_id)) == "job.not_found"
    delete_job(services, job_id)  # twice is no error


def test_what_comes_back_to_a_deleted_job_is_erased_once_no_url_is_good(services: GivenServices) -> None:
    job_id = running(services)
    delete_job(services, job_id)
    hear(services, job_id)
    write(services, job_id, "words.json", WORDS)  # by a call that was not stopped in time
    assert sweep(services).erased == 0
    services.clock.pass_by(hours=12.2)  # an upload or artifact by a URL of the last moment may still come
    assert sweep(services).erased == 0
    services.clock.pass_by(hours=0.1)
    assert sweep(services).erased == 1
    assert names(services) == []
    assert services.jobs.get(job_id).state is JobState.DELETED
    assert sweep(services).erased == 0


def test_an_upload_that_comes_after_its_job_was_deleted_is_erased_at_once(services: GivenServices) -> None:
    job = created(services)
    delete_job(services, job.job_id)
    receive_upload(services, upload(services, job))
    assert names(services) == []


def test_a_deadline_ends_the_job_and_stops_its_call(services: GivenServices) -> None:
    job = created(services, deadline_s=60.0)
    receive_upload(services, upload(services, job))
    hear(services, job.job_id)
    services.clock.pass_by(seconds=59)
    assert sweep(services).overdue == 0
    services.clock.pass_by(seconds=1)
    assert sweep(services).overdue == 1
    ended = services.jobs.get(job.job_id)
    assert (ended.state, ended.error and ended.error.code) == (JobState.FAILED, "job.overdue")
    assert services.runner.calls[f"{job.job_id}/transcribe/1"].state is CallState.FAILED


def test_the_retention_deletes_what_ended_long_ago_and_nothing_younger(services: GivenServices) -> None:
    object.__setattr__(services, "settings", services.settings.model_copy(update={"retention_days": 30.0}))
    old = running(services)
    cancel_job(services, old)
    services.clock.pass_by(days=29)
    young = running(services)
    cancel_job(services, young)
    assert sweep(services).retired == 0
    services.clock.pass_by(days=1, seconds=1)
    assert sweep(services).retired == 1
    assert services.jobs.get(old).state is JobState.DELETING
    assert services.jobs.get(young).state is JobState.CANCELED
    hear(services, old)
    assert all(young in name for name in names(services))


# --- the inbox -----------------------------------------------------------------------------------------------------


def dropped(services: GivenServices, name: str) -> ObjectInfo:
    return services.objects.write(
        ObjectRef(bucket=services.settings.uploads_bucket, name=name), b"RIFF", content_type="audio/wav"
    )


def test_a_recording_in_the_inbox_gets_one_job_however_often_it_is_told(services: GivenServices) -> None:
    tape = dropped(services, "inbox/acme/1987/Tape 12 - Ünï.wav")
    for _ in range(3):
        receive_upload(services, tape)
    (job,) = services.jobs.list()
    assert (job.state, job.tenant_id, job.filename) == (JobState.RUNNING, "acme", "Tape 12 - Ünï.wav")
    assert job.media is not None and job.media.object == tape
    hear(services, job.job_id)
    assert services.jobs.get(job.job_id).stages["transcribe"].call_id
    assert [event.type for event in services.jobs.history(job.job_id)] == ["job.created", "media.validated"]


def test_ids_of_the_inbox_sort_with_the_others_and_a_second_version_is_a_second_job(services: GivenServices) -> None:
    first = dropped(services, "inbox/acme/a.wav")
    receive_upload(services, first)
    services.objects.delete(first)
    receive_upload(services, dropped(services, "inbox/acme/a.wav"))
    ids = [job.job_id for job in services.jobs.list()]
    assert len(set(ids)) == 2 and ids == sorted(ids, reverse=True)
    assert {len(job_id) for job_id in ids} == {len(created(services).job_id)}


def test_a_crash_after_the_job_was_made_is_mended_by_the_sweep(services: GivenServices) -> None:
    type(services.prober).broken = True
    try:
        assert refused(lambda: receive_upload(services, dropped(services, "inbox/acme/a.wav"))) == "service.unavailable"
    finally:
        type(services.prober).broken = False
    services.clock.pass_by(minutes=5)
    assert sweep(services).revalidated == 1
    assert [job.state for job in services.jobs.list()] == [JobState.RUNNING]


def test_deleting_a_job_of_the_inbox_removes_its_recording(services: GivenServices) -> None:
    receive_upload(services, dropped(services, "inbox/acme/secret.wav"))
    (job,) = services.jobs.list()
    delete_job(services, job.job_id)
    hear(services, job.job_id)
    assert names(services) == []
    services.clock.pass_by(days=1)
    sweep(services)
    assert services.jobs.get(job.job_id).media is None


@pytest.mark.parametrize("name", ["inbox/acme", "inbox//a.wav", "inbox/acme/", "other/a.wav", "a.wav"])
def test_what_lies_elsewhere_gets_no_job(services: GivenServices, name: str) -> None:
    receive_upload(services, dropped(services, name))
    assert services.jobs.list() == []
