"""What a dispatcher asks of a runner."""

import threading

import pytest

from infra.pipeline.dispatch import dispatch_due
from infra.pipeline.intake import create_job, receive_upload
from infra.wiring import GivenServices
from shared.media import ObjectRef
from shared.options import JobOptions
from shared.requests import StageRequest
from tests.services import KeepingRunner


def validated(services: GivenServices, options: JobOptions) -> str:
    job = create_job(services, tenant_id="t", filename="", content_type="", options=options).job
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{job.job_id}/media")
    receive_upload(services, services.objects.write(ref, b"RIFF", content_type=""))
    return job.job_id


@pytest.fixture
def requests(services: GivenServices, monkeypatch: pytest.MonkeyPatch) -> dict[str, StageRequest]:
    """What the runner is asked, by stage. It takes a request only while another one is being made, if there are two."""
    asked: dict[str, StageRequest] = {}
    meeting = threading.Barrier(2)
    take = KeepingRunner.start

    def start(runner: KeepingRunner, request: StageRequest) -> str:
        asked[request.stage] = request
        if request.options.diarize:
            meeting.wait(timeout=10.0)
        return take(runner, request)

    monkeypatch.setattr(KeepingRunner, "start", start)
    return asked


def test_stages_that_may_run_together_are_started_together(
    services: GivenServices, requests: dict[str, StageRequest]
) -> None:
    job_id = validated(services, JobOptions())
    dispatch_due(services, job_id)
    assert {name for name, stage in services.jobs.get(job_id).stages.items() if stage.call_id} == set(requests)
    assert set(requests) == {"transcribe", "diarize"}


@pytest.mark.parametrize(("diarize", "interval_s"), [(True, 2.0), (False, 1.0)])
def test_stages_that_report_side_by_side_share_a_write_a_second(
    services: GivenServices, requests: dict[str, StageRequest], diarize: bool, interval_s: float
) -> None:
    dispatch_due(services, validated(services, JobOptions(diarize=diarize)))
    assert {request.report.interval_s for request in requests.values()} == {interval_s}


def test_reports_go_where_the_deployment_says(services: GivenServices, requests: dict[str, StageRequest]) -> None:
    job_id = validated(services, JobOptions(diarize=False))
    dispatch_due(services, job_id)
    assert requests["transcribe"].report.url == f"{services.settings.report_base_url}/{job_id}"
