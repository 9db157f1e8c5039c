"""What GPU jobs report."""

from infra.pipeline.dispatch import apply_fact, artifact_ref
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import Artifact, Fact, StageCompleted, StageFailed, StageProgressed
from shared.jobs import Job, StageStatus
from shared.stages import STAGES

Report = StageProgressed | StageCompleted | StageFailed


def receive_report(services: Services, job_id: str, report: Report, token: str) -> bool:
    """Apply a report; return whether the attempt is still wanted.

    Raises:
        PipelineError: ``request.unauthorized``, ``job.not_found``, or a retryable one.
    """
    services.report_tokens.check(token, job_id, report.stage, report.attempt)
    fact: Fact = report
    if isinstance(report, StageCompleted):
        fact = with_stored_artifacts(services, services.jobs.get(job_id), report)
    job = apply_fact(services, job_id, fact).job
    stage = job.stages[report.stage]
    under_way = stage.state in (StageStatus.DISPATCHED, StageStatus.RUNNING, StageStatus.COMPLETED)
    return under_way and stage.attempt == report.attempt and (job.state == "running" or job.state == "completed")


def with_stored_artifacts(services: Services, job: Job, report: StageCompleted) -> StageCompleted | StageFailed:
    """The report with what the store says of its artifacts, which a GPU job cannot know for certain."""
    try:
        artifacts = tuple(
            Artifact(
                kind=product.kind,
                filename=product.filename,
                object=services.objects.stat(artifact_ref(services, job, product)),
            )
            for product in STAGES[report.stage].products
        )
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        missing = PipelineError("stage.artifact_missing").info
        return StageFailed(stage=report.stage, attempt=report.attempt, error=missing)
    return report.model_copy(update={"artifacts": artifacts})
