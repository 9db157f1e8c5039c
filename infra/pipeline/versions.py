"""Where versions of transcripts are kept.

The job's document says which version is the current one, and whoever changes that makes a version. Each version's
objects have names of their own, noted in a draft before they are written, so that whatever a crash leaves is found when
the job is deleted. A version is kept under its number before another can take its place in the job.
"""

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from infra.pipeline.outbox import Stores
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import Artifact, TranscriptVersion
from shared.jobs import Job
from shared.media import ObjectRef
from shared.stages import STAGES, Kind
from shared.versions import KeptVersion, VersionDraft, behind_all, draft_id, kept_id

K = TypeVar("K", KeptVersion, VersionDraft)

log = logging.getLogger(__name__)

_PAGE = 100
_OF_VERSIONS = (Kind.TRANSCRIPT, Kind.CAPTIONS)
_CONTENT_TYPES = {product.filename: product.content_type for stage in STAGES.values() for product in stage.products}


@dataclass(frozen=True)
class Written:
    """What was written for a version that may come."""

    draft: VersionDraft
    artifacts: tuple[Artifact, ...]


def current_version(job: Job) -> TranscriptVersion:
    """The version that a completed job's transcript has.

    Raises:
        PipelineError: ``job.no_transcript`` where its stages made none.
    """
    if job.transcript is not None:
        return job.transcript
    artifacts = tuple(artifact for artifact in job.artifacts if artifact.kind in _OF_VERSIONS)
    if all(artifact.kind is not Kind.TRANSCRIPT for artifact in artifacts):
        raise PipelineError("job.no_transcript")
    finished = [stage.finished_at for stage in job.stages.values() if stage.artifacts and stage.finished_at]
    return TranscriptVersion(
        number=1,
        at=max(finished, default=job.updated_at),
        actor="",
        change="transcribed",
        summary="It was transcribed.",
        artifacts=artifacts,
    )


def find_version(stores: Stores, job: Job, number: int | None) -> TranscriptVersion:
    """A version by its number, or the current one.

    Raises:
        PipelineError: ``transcript.no_such_version``, ``job.no_transcript``.
    """
    current = current_version(job)
    if number in (None, current.number):
        return current
    if number == 1:
        return current_version(job.model_copy(update={"transcript": None}))
    if number is not None and 1 < number < current.number:
        return stores.documents.get(KeptVersion, kept_id(job.job_id, number)).version
    raise PipelineError(
        "transcript.no_such_version", f"The transcript has versions 1 to {current.number}.", current=current.number
    )


def list_versions(stores: Stores, job: Job, *, limit: int, below: int | None = None) -> Sequence[TranscriptVersion]:
    """Versions, the latest first; with ``below``, those with a smaller number."""
    current = current_version(job)
    top = current.number if below is None else min(below - 1, current.number)
    found = [current] if 1 < top == current.number else []
    if top > 1 and len(found) < limit:
        after = kept_id(job.job_id, top if found else top + 1)
        kept = stores.documents.find(KeptVersion, limit=limit - len(found), after=after)
        found += [one.version for one in kept if one.document_id.startswith(f"{job.job_id}.")]
    if top >= 1 and len(found) < limit:
        found.append(find_version(stores, job, 1))
    return found


def write_version(services: Services, job: Job, number: int, files: Mapping[str, bytes]) -> Written:
    """Write the objects of a version that may come.

    Args:
        services: Of this process.
        job: Whose transcript it is.
        number: Of the version.
        files: Contents by the names that the stages give their products.
    """
    token = secrets.token_hex(8)
    refs = {
        name: ObjectRef(
            bucket=services.settings.results_bucket,
            name=f"{job.tenant_id}/{job.job_id}/{name.replace('.', f'.v{number}.{token}.', 1)}",
        )
        for name in files
    }
    draft = VersionDraft(document_id=draft_id(job.job_id, token), tenant_id=job.tenant_id, objects=tuple(refs.values()))
    services.documents.create(draft)
    try:
        artifacts = tuple(
            Artifact(
                kind=Kind.TRANSCRIPT if name.startswith("transcript") else Kind.CAPTIONS,
                filename=name.replace(".", f".v{number}.", 1),
                object=services.objects.write(ref, files[name], content_type=_CONTENT_TYPES[name]),
            )
            for name, ref in refs.items()
        )
    except PipelineError:
        with tolerated(job.job_id):
            drop(services, draft)
        raise
    return Written(draft, artifacts)


def drop(services: Services, draft: VersionDraft) -> None:
    """Remove what came to nothing. Safe to repeat."""
    for ref in draft.objects:
        services.objects.delete(ref)
    services.documents.delete(VersionDraft, draft.document_id)


def keep(stores: Stores, job: Job) -> None:
    """Keep a job's current version under its number. Safe to repeat."""
    if job.transcript is None:
        return
    document_id = kept_id(job.job_id, job.transcript.number)
    try:
        stores.documents.create(KeptVersion(document_id=document_id, tenant_id=job.tenant_id, version=job.transcript))
    except PipelineError as error:
        if error.code != "document.exists":
            raise


def erase_versions(services: Services, job: Job) -> None:
    """Remove all versions of a transcript but the first, whose objects are the stages'. Safe to repeat.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    for draft in _of_job(services, VersionDraft, job):
        drop(services, draft)
    for kept in _of_job(services, KeptVersion, job):
        for artifact in kept.version.artifacts:
            services.objects.delete(artifact.object)
        services.documents.delete(KeptVersion, kept.document_id)


def _of_job(stores: Stores, kind: type[K], job: Job) -> Iterator[K]:
    # By the ids alone, which costs no index: all that begin with the job's sort together.
    after = behind_all(job.job_id)
    while page := stores.documents.find(kind, limit=_PAGE, after=after):
        for document in page:
            if not document.document_id.startswith(f"{job.job_id}."):
                return
            yield document
        after = page[-1].document_id


@contextmanager
def tolerated(job_id: str) -> Iterator[None]:
    """For what may be left undone, because someone will come across it: the next editor, ``sweep``, the deletion."""
    try:
        yield
    except PipelineError as error:
        log.warning("a version of %s was not tidied up: %s", job_id, error)
