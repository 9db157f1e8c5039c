"""What GPU jobs report."""

from infra.pipeline.artifacts import stored_artifacts
from infra.pipeline.dispatch import apply_fact
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import Fact, StageCompleted, StageFailed, StageProgressed
from shared.jobs import Job, JobState, StageStatus
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
    # A completed stage wants the report that completed it, which may come twice, and no progress: that is of a twin,
    # called when the first call was not recorded.
    wanted = {StageStatus.DISPATCHED, StageStatus.RUNNING}
    wanted |= {StageStatus.COMPLETED} if isinstance(report, StageCompleted) else set()
    alive = job.state in (JobState.RUNNING, JobState.COMPLETED)
    return alive and stage.state in wanted and stage.attempt == report.attempt


def with_stored_artifacts(services: Services, job: Job, report: StageCompleted) -> StageCompleted | StageFailed:
    """The report with what the store says of its artifacts, which a GPU job cannot know for certain."""
    try:
        artifacts = stored_artifacts(services, job, STAGES[report.stage])
    except PipelineError as error:
        if error.code != "object.not_found":
            raise
        missing = PipelineError("stage.artifact_missing").info
        return StageFailed(stage=report.stage, attempt=report.attempt, error=missing)
    return report.model_copy(update={"artifacts": artifacts})
