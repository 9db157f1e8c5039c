"""Changing transcripts: names, texts, versions. Each change makes a new version."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field, StringConstraints

from infra.api.access import allowed
from infra.api.idempotency import once
from infra.api.problems import documented
from infra.api.strict import Body
from infra.api.transcripts import ETAG, MAX_VERSION, MAY_READ, Cursor, VersionNumber
from infra.pipeline.audit import OWNER
from infra.pipeline.editing import Editor
from infra.pipeline.transcripts import find_completed, read_transcript
from infra.pipeline.versions import list_versions
from infra.wiring import services
from shared.differences import Difference, difference
from shared.editing import MAX_EDITS, Edit
from shared.errors import PipelineError
from shared.events import TranscriptVersion
from shared.keys import Principal

router = APIRouter(
    prefix="/v1/jobs/{job_id}/transcript", tags=["transcripts"], responses=documented(400, 401, 403, 404, 409, 429, 503)
)

MAY_WRITE = allowed("transcripts:write")
# One line, without space at its ends.
Name = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f\u2028\u2029]*[^\s\x00-\x1f\x7f])?$"
    ),
]
SpeakerId = Annotated[str, StringConstraints(min_length=1, max_length=50)]
Base = Annotated[
    int | None,
    Field(ge=1, le=MAX_VERSION, description="The version that you change: if there is a later one, nothing is done."),
]
IfMatch = Annotated[
    str | None, Header(max_length=100, description="The ETag of the transcript, in place of base_version.")
]
_TAG = re.compile(r'(?:W/)?"?([0-9]{1,8})"?')


class NameSpeaker(Body):
    """What a speaker is to be called."""

    name: Name | None = Field(description="Null takes the name away.", examples=["Ada"])
    base_version: Base = None


class MergeSpeakers(Body):
    """Speakers who are one."""

    speakers: list[SpeakerId] = Field(min_length=1, max_length=100, examples=[["SPEAKER_01", "SPEAKER_02"]])
    into: SpeakerId = Field(description="Who they are; keeps its name if it has one.", examples=["SPEAKER_00"])
    base_version: Base = None


class EditTranscript(Body):
    """Changes that are made together."""

    base_version: int = Field(
        ge=1, le=MAX_VERSION, description="The version that places are counted in, and that must be the current one."
    )
    edits: list[Edit] = Field(
        min_length=1,
        max_length=MAX_EDITS,
        examples=[[{"segment": 0, "text": "Good morning, everyone."}, {"segment": 1, "speaker": "SPEAKER_01"}]],
    )


class VersionView(BaseModel):
    """A version of a transcript."""

    version: int
    at: datetime
    actor: str = Field(description="The API key that made it; empty for version 1.")
    change: str = Field(description="`transcribed`, `speaker_named`, `speakers_merged`, `edited` or `restored`.")
    summary: str


class VersionPage(BaseModel):
    """Versions, the latest first."""

    data: list[VersionView]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


class DifferenceView(Difference):
    """What changed from one version to another."""

    version: int
    against: int


@router.patch("/speakers/{speaker}", responses={200: {"headers": ETAG}})
def name_speaker(
    job_id: str,
    speaker: Annotated[str, Path(max_length=50, examples=["SPEAKER_00"])],
    body: NameSpeaker,
    caller: Annotated[Principal, MAY_WRITE],
    response: Response,
    if_match: IfMatch = None,
) -> VersionView:
    """Say who a speaker is."""
    editor = _editor(job_id, caller, body.base_version, if_match)
    return _answer(editor.name_speaker(speaker, body.name), response)


@router.post("/speakers/merge", responses={200: {"headers": ETAG}})
@once()
def merge_speakers(
    job_id: str,
    body: MergeSpeakers,
    caller: Annotated[Principal, MAY_WRITE],
    response: Response,
    if_match: IfMatch = None,
) -> VersionView:
    """Say that several speakers are one."""
    editor = _editor(job_id, caller, body.base_version, if_match)
    return _answer(editor.merge_speakers(body.speakers, body.into), response)


@router.post("/edits", responses={200: {"headers": ETAG}, **documented(422)})
@once()
def edit(
    job_id: str,
    body: EditTranscript,
    caller: Annotated[Principal, MAY_WRITE],
    response: Response,
    if_match: IfMatch = None,
) -> VersionView:
    """Change what was said, or who said it. Words that stay keep their times exactly; new ones share those they
    replace."""
    return _answer(_editor(job_id, caller, body.base_version, if_match).edit(body.edits), response)


@router.get("/versions")
def versions(
    job_id: str,
    caller: Annotated[Principal, MAY_READ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> VersionPage:
    """The versions of a transcript: when each was made, with which key, and what was done."""
    job = find_completed(services(), job_id, caller.tenant_id)
    found = list_versions(services(), job, limit=limit, below=int(cursor) if cursor else None)
    has_more = bool(found) and found[-1].number > 1
    return VersionPage(
        data=[_view(version) for version in found], next_cursor=str(found[-1].number) if has_more else None
    )


@router.get("/versions/{version}/diff")
def diff(
    job_id: str,
    version: VersionNumber,
    caller: Annotated[Principal, MAY_READ],
    against: Annotated[
        int | None, Query(ge=1, le=MAX_VERSION, description="The version before it if left out.")
    ] = None,
) -> DifferenceView:
    """What changed: words with their times, who said what, and names."""
    after = read_transcript(services(), job_id, caller.tenant_id, version=version)
    other = against or max(1, version - 1)
    before = read_transcript(services(), job_id, caller.tenant_id, version=other)
    found = difference(before.transcript, after.transcript)
    return DifferenceView(version=version, against=other, **dict(found))


@router.post("/versions/{version}/restore", responses={200: {"headers": ETAG}})
@once()
def restore(
    job_id: str,
    version: VersionNumber,
    caller: Annotated[Principal, MAY_WRITE],
    response: Response,
    if_match: IfMatch = None,
) -> VersionView:
    """Undo: make an earlier version the latest again, as a version of its own."""
    return _answer(_editor(job_id, caller, None, if_match).restore(version), response)


def _editor(job_id: str, caller: Principal, base: int | None, if_match: str | None) -> Editor:
    if if_match is not None and if_match.strip() != "*":
        found = _TAG.fullmatch(if_match.strip())
        if found is None or base not in (None, int(found[1])):
            raise PipelineError(
                "request.invalid", "If-Match: this is not the tag of the version to be changed.", field="if-match"
            )
        base = int(found[1])
    return Editor(services(), job_id, caller.tenant_id, caller.key_id or OWNER, base)


def _answer(version: TranscriptVersion, response: Response) -> VersionView:
    response.headers["etag"] = f'"{version.number}"'
    return _view(version)


def _view(version: TranscriptVersion) -> VersionView:
    return VersionView(
        version=version.number,
        at=version.at,
        actor=version.actor,
        change=version.change,
        summary=version.summary,
    )
