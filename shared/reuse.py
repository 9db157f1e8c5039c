"""Earlier results: the same recording with the same options of one tenant needs no second look."""

import hashlib
import json
from typing import ClassVar

from shared.documents import Document
from shared.jobs import Job, JobState, StageStatus
from shared.media import ObjectInfo
from shared.options import JobOptions
from shared.stages import STAGES, Stage
from shared.weights import DEFAULT_MODELS, find_model

# To be raised when GPU stages come to other results without another model.
_RESULTS = 1


class Earlier(Document):
    """Which job has the results for a recording and its options.

    Attributes:
        document_id: Of :func:`reuse_id`.
        job_id: A job that was completed.
    """

    collection: ClassVar[str] = "earlier_results"
    job_id: str


def reused_stages(options: JobOptions) -> tuple[Stage, ...]:
    """The stages of a job that are worth it. Those that run in a function take no time, and are run anew."""
    return tuple(stage for stage in STAGES.values() if stage.placement == "gpu" and stage.applies(options))


def reuse_id(tenant_id: str, media: ObjectInfo, options: JobOptions) -> str | None:
    """What results are kept under; ``None`` where nothing tells the content. Every option counts that a model sees."""
    if not media.md5:
        return None
    stages = reused_stages(options)
    models = {stage.name: options.model if stage.name == "transcribe" else None for stage in stages}
    told = {
        "results": _RESULTS,
        "tenant_id": tenant_id,
        "content": [media.md5, media.size_bytes],
        "options": options.model_dump(mode="json", exclude={"captions", "stages", "model", "priority"}),
        "models": {name: find_model(alias or DEFAULT_MODELS[name], name).label for name, alias in models.items()},
    }
    return f"res_{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}"


def can_be_reused(earlier: Job, job: Job) -> bool:
    """Whether a job has all that another one needs."""
    return (
        earlier.job_id != job.job_id
        and earlier.tenant_id == job.tenant_id
        and earlier.state is JobState.COMPLETED
        and all(
            earlier.stages[stage.name].state is StageStatus.COMPLETED
            and {found.filename for found in earlier.stages[stage.name].artifacts}
            == {product.filename for product in stage.products}
            for stage in reused_stages(job.options)
        )
    )
