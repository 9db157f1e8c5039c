"""Earlier results: what tells them apart, and that whatever fails costs only the work they would have saved."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.pipeline.dispatch import dispatch_due
from infra.pipeline.intake import create_job, receive_upload, upload_ref
from infra.pipeline.reports import receive_report
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.events import MediaValidated, StageCompleted
from shared.jobs import Job, JobState
from shared.media import ObjectInfo
from shared.options import CaptionRules, JobOptions
from shared.reuse import Earlier, reuse_id
from shared.stages import STAGES
from shared.transcript import Recognition
from tests.facts import CLAIMED, RECEIVED, UPLOAD, VALIDATED, Story
from tests.machine.laws import check_commit
from tests.services import KeepingRunner

MEDIA = UPLOAD.model_copy(update={"md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
PLAIN = JobOptions(diarize=False)


def test_the_same_recording_and_options_of_one_tenant_are_one() -> None:
    assert reuse_id("acme", MEDIA, PLAIN) == reuse_id("acme", MEDIA.model_copy(update={"generation": 9}), PLAIN)
    assert reuse_id("acme", MEDIA, PLAIN) == reuse_id("acme", MEDIA, JobOptions(diarize=False, model="base"))
    captions = JobOptions(diarize=False, captions=CaptionRules(max_lines=1))
    assert reuse_id("acme", MEDIA, PLAIN) == reuse_id("acme", MEDIA, captions)
    assert reuse_id("acme", MEDIA, PLAIN) == reuse_id("acme", MEDIA, JobOptions(diarize=False, priority="high"))


@pytest.mark.parametrize(
    ("tenant_id", "change", "options"),
    [
        ("other", {}, PLAIN),
        ("acme", {"md5": "x"}, PLAIN),
        ("acme", {"size_bytes": 1}, PLAIN),
        *(
            ("acme", {}, options)
            for options in (
                JobOptions(),
                JobOptions(diarize=False, language="en"),
                JobOptions(diarize=False, model="small"),
                JobOptions(diarize=False, hotwords=("a",)),
                JobOptions(diarize=False, initial_prompt="a"),
                JobOptions(num_speakers=2),
            )
        ),
    ],
)
def test_anything_else_is_another(tenant_id: str, change: dict[str, object], options: JobOptions) -> None:
    assert reuse_id(tenant_id, MEDIA.model_copy(update=change), options) != reuse_id("acme", MEDIA, PLAIN)


def test_without_a_checksum_nothing_is_known_again() -> None:
    assert reuse_id("acme", UPLOAD, PLAIN) is None


def test_every_option_that_a_model_sees_counts() -> None:
    seen = set(JobOptions.model_fields) - {"captions", "stages", "model"}  # the last two are in the models
    dumped = PLAIN.model_dump(exclude={"captions", "stages", "model"})
    assert set(dumped) == seen


def test_a_job_with_earlier_results_goes_the_way_of_every_other() -> None:
    story = Story.begin(None, RECEIVED)
    before, step = story.job, story.tell(MediaValidated(media=VALIDATED.media, reused_from="job_0"))
    check_commit(before, step)
    assert step.job.reused_from == "job_0"
    story.tell(CLAIMED)
    assert story.complete().job.state is JobState.COMPLETED
    assert story.types.count("job.completed") == 1


def received(services: GivenServices, **about: bool) -> Job:
    """A job whose recording has been looked at."""
    job = create_job(services, tenant_id="acme", content_type="", options=PLAIN, **about).job  # type: ignore[arg-type]
    uploaded = services.objects.write(upload_ref(services, "acme", job.job_id), b"RIFF", content_type="audio/wav")
    receive_upload(services, uploaded)
    return services.jobs.get(job.job_id)


def worked(services: GivenServices, job: Job) -> Job:
    """The job once its worker has done what it is asked for."""
    dispatch_due(services, job.job_id)
    token = services.report_tokens.sign(job.job_id, "transcribe", 1)
    words = Recognition(language="en", duration_s=1.0, segments=(), model="none").to_json().encode()
    target = f"acme/{job.job_id}/words.json"
    ref = upload_ref(services, "acme", job.job_id).model_copy(
        update={"bucket": services.settings.results_bucket, "name": target}
    )
    services.objects.write(ref, words, content_type="application/json")
    receive_report(services, job.job_id, StageCompleted(stage="transcribe", attempt=1), token)
    dispatch_due(services, job.job_id)
    done = services.jobs.get(job.job_id)
    assert done.state is JobState.COMPLETED
    return done


def calls(services: GivenServices) -> set[str]:
    assert isinstance(services.runner, KeepingRunner)
    return set(services.runner.calls)


def test_a_second_job_calls_no_worker(services: GivenServices) -> None:
    first = worked(services, received(services))
    second = received(services)
    before = calls(services)
    dispatch_due(services, second.job_id)
    done = services.jobs.get(second.job_id)
    assert (done.state, done.reused_from, calls(services)) == (JobState.COMPLETED, first.job_id, before)
    assert all(second.job_id in artifact.object.name for artifact in done.artifacts)
    assert done.stages["transcribe"].metrics is not None and done.stages["transcribe"].metrics.compute_s == 0.0


class _Failing:
    """Services of which one method fails at its ``at``-th call, once."""

    def __init__(self, inner: object, name: str, at: int, code: str) -> None:
        self._inner, self._name, self._at, self._code = inner, name, at, code

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self._inner, name)
        if name != self._name:
            return found

        def failing(*args: object, **values: object) -> object:
            self._at -= 1
            if self._at == 0:
                raise PipelineError(self._code)
            return found(*args, **values)

        return failing


@pytest.mark.parametrize(
    ("port", "method", "code"),
    [
        ("documents", "get", "service.unavailable"),
        ("objects", "read", "service.unavailable"),
        ("objects", "read", "object.not_found"),
        ("objects", "write", "service.unavailable"),
    ],
)
def test_what_fails_costs_the_work_and_nothing_else(services: GivenServices, port: str, method: str, code: str) -> None:
    worked(services, received(services))
    job = create_job(services, tenant_id="acme", content_type="", options=PLAIN).job
    uploaded = services.objects.write(upload_ref(services, "acme", job.job_id), b"RIFF", content_type="audio/wav")
    broken = replace(services, **{port: _Failing(getattr(services, port), method, 1, code)})
    receive_upload(broken, uploaded)
    job = services.jobs.get(job.job_id)
    assert (job.state, job.reused_from) == (JobState.RUNNING, "")
    worked(services, job)


def test_who_dies_between_copying_and_saying_so_is_followed_by_another(services: GivenServices) -> None:
    first = worked(services, received(services))
    job = create_job(services, tenant_id="acme", content_type="", options=PLAIN).job
    uploaded = services.objects.write(upload_ref(services, "acme", job.job_id), b"RIFF", content_type="audio/wav")
    # The first update says that the recording came, the second that it was looked at.
    dying = replace(services, jobs=_Failing(services.jobs, "update", 2, "service.unavailable"))  # type: ignore[arg-type]
    with pytest.raises(PipelineError):
        receive_upload(dying, uploaded)
    assert services.jobs.get(job.job_id).state is JobState.VALIDATING
    receive_upload(services, uploaded)
    assert services.jobs.get(job.job_id).reused_from == first.job_id
    dispatch_due(services, job.job_id)
    assert services.jobs.get(job.job_id).state is JobState.COMPLETED


def test_copies_that_are_gone_are_made_anew(services: GivenServices) -> None:
    worked(services, received(services))
    job = received(services)
    assert job.reused_from
    words = STAGES["transcribe"].products[0].filename
    services.objects.delete(
        ObjectInfo(bucket=services.settings.results_bucket, name=f"acme/{job.job_id}/{words}", size_bytes=0)
    )
    dispatch_due(services, job.job_id)
    assert f"{job.job_id}/transcribe/1" in calls(services)
    assert services.jobs.get(job.job_id).state is JobState.RUNNING


def test_a_fresh_result_takes_the_place_of_an_older_one(services: GivenServices) -> None:
    worked(services, received(services))
    fresh = received(services, reuse=False)
    assert fresh.reused_from == ""
    worked(services, fresh)
    assert received(services).reused_from == fresh.job_id
    (known,) = services.documents.find(Earlier, tenant_id="acme")
    assert known.expires_at == services.clock.now() + timedelta(days=services.settings.reuse_days)


def test_a_deployment_that_wants_none_keeps_none(services: GivenServices) -> None:
    never = replace(services, settings=services.settings.model_copy(update={"reuse_days": 0.0}))
    worked(never, received(never))
    assert not services.documents.find(Earlier, tenant_id="acme")
    assert received(never).reused_from == ""
