"""Transcripts of completed jobs."""

from typing import Annotated

from fastapi import APIRouter, Response

from infra.api.access import allowed
from infra.api.problems import documented
from infra.exports import FORMATS, render
from infra.pipeline.transcripts import read_transcript
from infra.wiring import services
from shared.keys import Principal

router = APIRouter(
    prefix="/v1/jobs/{job_id}/transcript", tags=["transcripts"], responses=documented(400, 401, 403, 404, 409, 429, 503)
)


@router.get("")
def transcript(
    job_id: str, caller: Annotated[Principal, allowed("transcripts:read")], format: str = "json"
) -> Response:
    """The transcript of a completed job, in any export format."""
    found = read_transcript(services(), job_id, caller.tenant_id)
    content = render(found.transcript, format, found.options.captions)
    return Response(content, media_type=FORMATS[format].media_type)
