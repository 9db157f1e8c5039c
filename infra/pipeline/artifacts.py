"""Where a job's artifacts lie."""

from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import Artifact
from shared.jobs import Job
from shared.media import ObjectInfo, ObjectRef
from shared.stages import Product, Stage


def artifact_ref(services: Services, job: Job, product: Product) -> ObjectRef:
    """Where a product of a job is written. Not named by attempt: whoever is first has written it."""
    return ObjectRef(bucket=services.settings.results_bucket, name=f"{job.tenant_id}/{job.job_id}/{product.filename}")


def stored_artifacts(services: Services, job: Job, stage: Stage) -> tuple[Artifact, ...]:
    """What a stage of a job has written, as the store describes it.

    Raises:
        PipelineError: ``object.not_found`` when a part of it is missing.
    """
    return tuple(
        Artifact(
            kind=product.kind,
            filename=product.filename,
            object=services.objects.stat(artifact_ref(services, job, product)),
        )
        for product in stage.products
    )


def write_once(services: Services, ref: ObjectRef, content: bytes, content_type: str) -> ObjectInfo:
    """Write an artifact, or find the one that an earlier try has left.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    try:
        return services.objects.write(ref, content, content_type=content_type)
    except PipelineError as error:
        if error.code != "object.exists":
            raise
        return services.objects.stat(ref)
