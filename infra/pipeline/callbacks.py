"""Where the end of a job is told: kept apart from the job, which apps may listen to, for a URL may be a secret."""

from datetime import timedelta

from infra.pipeline.outbox import Stores
from shared.errors import PipelineError
from shared.jobs import Job
from shared.webhooks import Callback, callback_id

# How long the end of a job is told to its callback; a job that is tried again after that tells endpoints alone.
CALLBACK_KEPT = timedelta(days=400)


def keep_callback(stores: Stores, job: Job, url: str) -> None:
    """Keep where the end of a job is to be told. Before the job is there, so that none is without it.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    expires_at = job.created_at + CALLBACK_KEPT
    kept = Callback(document_id=callback_id(job.job_id), tenant_id=job.tenant_id, url=url, expires_at=expires_at)
    try:
        stores.documents.create(kept)
    except PipelineError as error:
        if error.code != "document.exists":
            raise


def forget_callback(stores: Stores, job_id: str) -> None:
    """Keep nothing of where the end of a job was told. Safe to repeat.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    stores.documents.delete(Callback, callback_id(job_id))


def callback_url(stores: Stores, job_id: str) -> str:
    """Where the end of a job is to be told; empty for nowhere.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    try:
        return stores.documents.get(Callback, callback_id(job_id)).url
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return ""
