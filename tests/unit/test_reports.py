"""What a GPU job is told of its reports: whether its attempt is still wanted."""

import pytest

from infra.pipeline.dispatch import apply_fact, dispatch_due
from infra.pipeline.intake import create_job, receive_upload
from infra.pipeline.reports import Report, receive_report
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.events import JobCanceled, StageCompleted, StageFailed, StageProgressed
from shared.media import ObjectRef
from shared.options import JobOptions

WORDS = b'{"language": "en", "duration_s": 2.0, "segments": [], "model": "x"}'


@pytest.fixture
def job_id(services: GivenServices) -> str:
    """A job whose words are stored, and whose first attempt to transcribe is under way."""
    job = create_job(services, tenant_id="t", filename="", content_type="", options=JobOptions(diarize=False)).job
    media = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{job.job_id}/media")
    receive_upload(services, services.objects.write(media, b"RIFF", content_type=""))
    dispatch_due(services, job.job_id)
    words = ObjectRef(bucket=services.settings.results_bucket, name=f"t/{job.job_id}/words.json")
    services.objects.write(words, WORDS, content_type="application/json")
    return job.job_id


def report(services: GivenServices, job_id: str, told: Report) -> bool:
    token = services.report_tokens.sign(job_id, told.stage, told.attempt)
    return receive_report(services, job_id, told, token)


PROGRESS = StageProgressed(stage="transcribe", attempt=1, progress=0.5)
COMPLETED = StageCompleted(stage="transcribe", attempt=1)


def test_progress_is_wanted_until_its_stage_is_completed(services: GivenServices, job_id: str) -> None:
    assert report(services, job_id, PROGRESS)
    assert report(services, job_id, COMPLETED)
    assert not report(services, job_id, PROGRESS)  # of a twin that was called when the first was not recorded


def test_the_report_that_completed_a_stage_may_come_twice(services: GivenServices, job_id: str) -> None:
    assert report(services, job_id, COMPLETED)
    revision = services.jobs.get(job_id).revision
    assert report(services, job_id, COMPLETED)
    assert services.jobs.get(job_id).revision == revision


@pytest.mark.parametrize("told", [PROGRESS, COMPLETED])
def test_no_attempt_of_a_canceled_job_is_wanted(services: GivenServices, job_id: str, told: Report) -> None:

    apply_fact(services, job_id, JobCanceled())
    assert not report(services, job_id, told)


def test_an_attempt_that_was_superseded_is_not_wanted(services: GivenServices, job_id: str) -> None:
    error = PipelineError("stage.crashed").info
    assert not report(services, job_id, StageFailed(stage="transcribe", attempt=1, error=error))
    assert not report(services, job_id, PROGRESS)


def test_a_token_of_another_attempt_is_refused(services: GivenServices, job_id: str) -> None:
    token = services.report_tokens.sign(job_id, "transcribe", 2)
    with pytest.raises(PipelineError) as refused:
        receive_report(services, job_id, COMPLETED, token)
    assert refused.value.code == "request.unauthorized"
