"""Reading what came out."""

from dataclasses import dataclass

from infra.pipeline.control import find_job
from infra.pipeline.versions import find_version
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import TranscriptVersion
from shared.jobs import Job, JobState
from shared.options import JobOptions
from shared.stages import Kind
from shared.transcript import Transcript


@dataclass(frozen=True)
class FoundTranscript:
    """A transcript, the job it comes from, and which version it is."""

    transcript: Transcript
    job: Job
    version: TranscriptVersion

    @property
    def options(self) -> JobOptions:
        """Of the job."""
        return self.job.options


def find_completed(services: Services, job_id: str, tenant_id: str | None = None) -> Job:
    """A job that should have a transcript.

    Raises:
        PipelineError: ``job.not_found``, ``job.not_ready`` while a transcript may still come,
            ``job.no_transcript`` once it cannot.
    """
    job = find_job(services, job_id, tenant_id)
    if job.state.is_terminal and job.state is not JobState.COMPLETED:
        reason = f": {job.error.message}" if job.error else "."
        raise PipelineError("job.no_transcript", f"The job was {job.state}{reason}", state=job.state)
    if job.state is not JobState.COMPLETED:
        raise PipelineError("job.not_ready", f"The job is {job.state}; it has no transcript.", state=job.state)
    return job


def read_transcript(
    services: Services, job_id: str, tenant_id: str | None = None, *, version: int | None = None
) -> FoundTranscript:
    """The transcript of a completed job, as it is now or in an earlier version.

    Raises:
        PipelineError: As :func:`find_completed`; ``transcript.no_such_version``.
    """
    job = find_completed(services, job_id, tenant_id)
    return read_version(services, job, find_version(services, job, version))


def read_version(services: Services, job: Job, version: TranscriptVersion) -> FoundTranscript:
    """One version of a job's transcript."""
    artifact = next(artifact for artifact in version.artifacts if artifact.kind is Kind.TRANSCRIPT)
    return FoundTranscript(Transcript.from_json(services.objects.read(artifact.object)), job, version)
