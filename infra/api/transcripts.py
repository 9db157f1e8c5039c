"""Reading transcripts: exports, sentences, paragraphs, search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field, ValidationError

from infra.api.access import allowed
from infra.api.problems import documented
from infra.api.tags import IfNoneMatch, is_known, tag_headers, tagged, unchanged
from infra.exports import FORMATS, check_format, render
from infra.pipeline.transcripts import FoundTranscript, find_completed, read_version
from infra.pipeline.versions import find_version
from infra.wiring import services
from shared.errors import PipelineError
from shared.events import TranscriptVersion
from shared.jobs import Job
from shared.keys import Principal
from shared.options import CaptionRules
from shared.search import Match, search
from shared.sentences import Paragraph, Sentence, paragraphs, sentences
from shared.transcript import Transcript

T = TypeVar("T")

router = APIRouter(
    prefix="/v1/jobs/{job_id}/transcript", tags=["transcripts"], responses=documented(400, 401, 403, 404, 409, 429, 503)
)

MAY_READ = allowed("transcripts:read")
MAX_VERSION = 10**8 - 1
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$", description="As the page before has said.")]
VersionNumber = Annotated[int, Path(ge=1, le=MAX_VERSION, description="Of the version.")]
_TAGGED = tagged("The version, in quotes, for If-Match and If-None-Match.", "You have this version.")
ETAG: dict[str, Any] = _TAGGED[200]["headers"]


class SentencePage(BaseModel):
    """Sentences, in order of time."""

    version: int = Field(description="Of the transcript.")
    language: str
    data: list[Sentence]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


class ParagraphPage(BaseModel):
    """Paragraphs, in order of time."""

    version: int = Field(description="Of the transcript.")
    language: str
    data: list[Paragraph]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


class MatchPage(BaseModel):
    """Places where something was found, in order of time."""

    version: int = Field(description="Of the transcript.")
    total: int = Field(description="How many there are on all pages.")
    data: list[Match]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


@dataclass(frozen=True)
class Asked:
    """Which version is asked for, before anything of it is read: a client that has it needs no more."""

    job: Job
    version: TranscriptVersion
    if_none_match: str | None

    @property
    def is_known(self) -> bool:
        """Whether the client has it already: all that is made of one version stays the same."""
        return is_known(self.version.number, self.if_none_match)

    def unchanged(self) -> Response:
        """The answer to a client that has it already."""
        return unchanged(self.version.number)

    def read(self, response: Response | None = None) -> FoundTranscript:
        """The transcript itself; the answer, if it is there already, gets the version's tag."""
        if response is not None:
            response.headers.update(tag_headers(self.version.number))
        return read_version(services(), self.job, self.version)


def asked_for(
    job_id: str,
    caller: Annotated[Principal, MAY_READ],
    version: Annotated[
        int | None, Query(ge=1, le=MAX_VERSION, description="The current one if left out; 1 is as it was transcribed.")
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Asked:
    """The version that the path and the query ask for, if it is the caller's."""
    job = find_completed(services(), job_id, caller.tenant_id)
    return Asked(job, find_version(services(), job, version), if_none_match)


AskedFor = Annotated[Asked, Depends(asked_for)]


def caption_changes(
    max_line_characters: Annotated[int | None, Query(ge=10, le=200, description="Of the longest line.")] = None,
    max_lines: Annotated[int | None, Query(ge=1, le=4, description="Of one caption.")] = None,
    min_duration_s: Annotated[float | None, Query(ge=0, le=10, description="Where there is room.")] = None,
    max_duration_s: Annotated[float | None, Query(ge=1, le=30, description="Longer captions are split.")] = None,
    max_gap_s: Annotated[float | None, Query(ge=0.1, le=10, description="A longer pause parts captions.")] = None,
) -> dict[str, float]:
    """How captions are to be cut otherwise than the job's options say."""
    given = {
        "max_line_characters": max_line_characters,
        "max_lines": max_lines,
        "min_duration_s": min_duration_s,
        "max_duration_s": max_duration_s,
        "max_gap_s": max_gap_s,
    }
    return {name: value for name, value in given.items() if value is not None}


@router.get(
    "",
    response_model=None,
    responses={
        **_TAGGED,
        200: {
            "model": Transcript,
            "content": {kind.media_type: {} for kind in FORMATS.values()},
            "headers": ETAG,
        },
        **documented(422),
    },
)
def transcript(
    asked: AskedFor,
    changes: Annotated[dict[str, float], Depends(caption_changes)],
    format: Annotated[
        str, Query(max_length=20, description="Of the export.", json_schema_extra={"enum": list(FORMATS)})
    ] = "json",
) -> Response:
    """The transcript of a completed job, in any export format; captions are cut as the job's options say, or you."""
    try:
        rules = CaptionRules(**{**asked.job.options.captions.model_dump(), **changes})
    except ValidationError as error:
        raise PipelineError(
            "request.contradictory", "min_duration_s is greater than max_duration_s.", field="min_duration_s"
        ) from error
    check_format(format)
    if asked.is_known:
        return asked.unchanged()
    content = render(asked.read().transcript, format, rules)
    return Response(content, media_type=FORMATS[format].media_type, headers=tag_headers(asked.version.number))


@router.get("/sentences", response_model=SentencePage, responses=_TAGGED)
def sentence_page(
    asked: AskedFor,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
) -> SentencePage | Response:
    """The transcript sentence by sentence, each of one speaker, with its times and its words by number."""
    if asked.is_known:
        return asked.unchanged()
    found = asked.read(response)
    data, next_cursor = _page(sentences(found.transcript), limit, cursor)
    return SentencePage(
        version=found.version.number, language=found.transcript.language, data=data, next_cursor=next_cursor
    )


@router.get("/paragraphs", response_model=ParagraphPage, responses=_TAGGED)
def paragraph_page(
    asked: AskedFor,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
) -> ParagraphPage | Response:
    """The transcript in paragraphs: cut where the speaker changes or pauses, and at a length that reads well."""
    if asked.is_known:
        return asked.unchanged()
    found = asked.read(response)
    data, next_cursor = _page(paragraphs(found.transcript), limit, cursor)
    return ParagraphPage(
        version=found.version.number, language=found.transcript.language, data=data, next_cursor=next_cursor
    )


@router.get("/search", response_model=MatchPage, responses=_TAGGED)
def matches(
    asked: AskedFor,
    response: Response,
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="A word or a phrase. Case, accents and punctuation make no difference.",
            examples=["good morning"],
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> MatchPage | Response:
    """Where something was said: times, speaker, and the words around it."""
    if asked.is_known:
        return asked.unchanged()
    found = asked.read(response)
    skip = int(cursor or 0)
    places = search(found.transcript, q, limit=limit, skip=skip)
    end = skip + len(places.matches)
    return MatchPage(
        version=found.version.number,
        total=places.total,
        data=list(places.matches),
        next_cursor=str(end) if end < places.total else None,
    )


def _page(items: Sequence[T], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    first = int(cursor or 0)
    end = first + limit
    return list(items[first:end]), str(end) if end < len(items) else None
