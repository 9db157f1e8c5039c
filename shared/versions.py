"""Versions of a transcript, as they are kept beside the job."""

from typing import ClassVar

from shared.documents import Document
from shared.events import TranscriptVersion
from shared.media import ObjectRef


class KeptVersion(Document):
    """A version that a job has, or had: its id is made of the job's and the number, so there is one of each."""

    collection: ClassVar[str] = "transcript_versions"
    version: TranscriptVersion


class VersionDraft(Document):
    """Objects that someone is about to write, so that they are found again if no version comes of them."""

    collection: ClassVar[str] = "transcript_drafts"
    objects: tuple[ObjectRef, ...]


def kept_id(job_id: str, number: int) -> str:
    """The id of a version. Ids of one job begin with its own and a dot, and sort by number."""
    return f"{job_id}.{number:08d}"


def draft_id(job_id: str, token: str) -> str:
    """The id of a draft, which begins with the job's and a dot."""
    return f"{job_id}.{token}"


def behind_all(job_id: str) -> str:
    """What sorts right behind the ids of all versions, or drafts, of a job."""
    return f"{job_id}/"
