"""Reading what came out."""

from dataclasses import dataclass

from infra.pipeline.control import find_job
from infra.wiring import Services
from shared.errors import PipelineError
from shared.jobs import JobState
from shared.options import JobOptions
from shared.stages import Kind
from shared.transcript import Transcript


@dataclass(frozen=True)
class FoundTranscript:
    """A transcript, and the options of the job it comes from."""

    transcript: Transcript
    options: JobOptions


def read_transcript(services: Services, job_id: str, tenant_id: str | None = None) -> FoundTranscript:
    """The transcript of a completed job.

    Raises:
        PipelineError: ``job.not_found``, ``job.not_ready`` while it may still come,
            ``job.no_transcript`` once it cannot.
    """
    job = find_job(services, job_id, tenant_id)
    if job.state.is_terminal and job.state is not JobState.COMPLETED:
        reason = f": {job.error.message}" if job.error else "."
        raise PipelineError("job.no_transcript", f"The job was {job.state}{reason}", state=job.state)
    if job.state is not JobState.COMPLETED:
        raise PipelineError("job.not_ready", f"The job is {job.state}; it has no transcript.", state=job.state)
    artifact = next(artifact for artifact in job.artifacts if artifact.kind is Kind.TRANSCRIPT)
    return FoundTranscript(Transcript.from_json(services.objects.read(artifact.object)), job.options)
