"""OpenAI's endpoint for transcriptions, so that its clients work with this API."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import StreamingResponse

from infra.api.access import allowed
from infra.api.edge import ANSWER_HEADERS
from infra.api.idempotency import REPLAYED, once
from infra.api.openapi import EVENTS
from infra.api.problems import documented, openai_error
from infra.exports.openai import Deltas, answer, diarized_segments, plain_text, usage
from infra.pipeline.direct import check_completed, followed, take_in
from infra.pipeline.transcripts import read_transcript
from infra.wiring import services
from shared.errors import PipelineError
from shared.jobs import Job, JobState
from shared.keys import Principal
from shared.options import MAX_PROMPT_CHARACTERS, Hotword, JobOptions, Language
from shared.repeats import KeptAnswer
from shared.transcript import Transcript

router = APIRouter(
    prefix="/v1/audio", tags=["openai"], responses=documented(400, 401, 403, 409, 413, 422, 429, 500, 503, 504)
)

PATH = "/v1/audio/transcriptions"
# A file of 25 MB, as OpenAI takes it, and the form around it. Cloud Run takes no more than 32.
MAX_BODY_BYTES = 26_500_000
JOB_HEADER = "x-job-id"
_MAX_FIELDS = 100
# Names of OpenAI's own models: whoever asks for one gets the deployment's.
_THEIR_MODELS = re.compile(r"whisper-1|gpt-[\w.-]*transcribe[\w.-]*")
# Names of repeated fields come with brackets or without.
_LISTS = ("timestamp_granularities", "keywords")


class TranscribeForm(BaseModel):
    """The fields of the form that mean something here; others are taken and ignored."""

    model: str = Field(
        default="whisper-1",
        min_length=1,
        max_length=100,
        description="Alias of a speech model. OpenAI's names stand for the deployment's default; one that ends in "
        "`-diarize` tells speakers apart.",
    )
    language: Language | None = Field(default=None, description="ISO 639 code; detected if left out.")
    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS, description="Text that could have come before.")
    response_format: Literal["json", "verbose_json", "diarized_json", "text", "srt", "vtt"] = "json"
    temperature: float = Field(default=0.0, ge=0, le=1, description="Taken for compatibility, without effect.")
    stream: bool = Field(default=False, description="Answer with server-sent events while the recording is heard.")
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default=[], max_length=2, description="What `verbose_json` holds: segments unless said otherwise."
    )
    keywords: list[Hotword] = Field(default=[], max_length=100, description="Words that are likely to be said.")

    @property
    def options(self) -> JobOptions:
        """What is asked of the job."""
        theirs = _THEIR_MODELS.fullmatch(self.model)
        return JobOptions(
            language=self.language,
            model=None if theirs else self.model,
            hotwords=tuple(self.keywords),
            initial_prompt=self.prompt,
            diarize=self.response_format == "diarized_json" or self.model.endswith("-diarize"),
        )


def _form_schema() -> dict[str, Any]:
    schema = TranscribeForm.model_json_schema()
    properties: dict[str, Any] = {
        # A form has no null.
        f"{name}[]" if name in _LISTS else name: field.pop("anyOf", [{}])[0] | field
        for name, field in schema["properties"].items()
    }
    file = {"type": "string", "format": "binary", "description": "The recording: any format, up to 25 MB."}
    schema["properties"] = {"file": file, **properties}
    schema["required"] = ["file"]
    del schema["properties"]["language"]["default"]
    schema["examples"] = [{"model": "whisper-1", "language": "en", "response_format": "verbose_json"}]
    return schema


def _is_read_again(_answer: Response) -> bool:
    """No answer is kept: what was said would outlive its job. Who repeats a request has it read again."""
    return False


_TEXT = {"schema": {"type": "string"}}
_EXAMPLE = {"text": "Good morning.", "usage": {"type": "duration", "seconds": 2}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The transcript, as `response_format` says.",
        "headers": {
            JOB_HEADER: {"description": "The job, under which everything else is found.", "schema": {"type": "string"}}
        },
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {"text": {"type": "string"}},
                },
                "example": _EXAMPLE,
            },
            "text/plain": _TEXT,
            "application/x-subrip": _TEXT,
            "text/vtt": _TEXT,
            "text/event-stream": EVENTS,
        },
    }
}


@router.post(
    "/transcriptions",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form_schema()}}}},
)
@once(is_final=_is_read_again)
async def transcriptions(
    request: Request,
    caller: Annotated[Principal, allowed("jobs:write", "transcripts:read")],
    claim: KeptAnswer | None = None,
) -> Response:
    """Transcribe a recording of up to 25 MB and wait for it, as OpenAI's clients do.

    A job is made as for every recording; its id is in the header `x-job-id`. For what is longer, create a job. With an
    `Idempotency-Key` a request that was broken off can be sent again: it waits for the same job, and reads it.
    """
    found = services()
    async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=100_000) as form:
        asked, options, file = _read(form)
        job = await run_in_threadpool(
            take_in,
            found,
            tenant_id=caller.tenant_id,
            filename=(file.filename or "")[-255:],
            options=options,
            content=file.file,
            size_bytes=file.size or 0,
            claim=claim,
        )
    told = request.scope[ANSWER_HEADERS]
    told[JOB_HEADER] = job.job_id
    if claim is None:  # once more would be one more job, and no sooner done
        told["x-should-retry"] = "false"
    elif job.state is not JobState.AWAITING_UPLOAD:
        told[REPLAYED] = "true"
    changes = followed(found, job, wait_s=found.settings.transcription_wait_s)
    async for job in changes:
        # A recording that is refused is answered by a status; after that there is only the stream.
        if asked.stream and job.state is JobState.RUNNING:
            return StreamingResponse(_events(asked, job, changes), media_type="text/event-stream")
    check_completed(job)
    if asked.stream:  # it was done before anyone saw it run
        return StreamingResponse(_events(asked, job, changes), media_type="text/event-stream")
    transcript = await run_in_threadpool(_transcript, job)
    content, media_type = answer(
        transcript, asked.response_format, options.captions, granularities=asked.timestamp_granularities
    )
    return Response(content, media_type=media_type)


def _read(form: FormData) -> tuple[TranscribeForm, JobOptions, UploadFile]:
    """The fields of a form, what they ask of the job, and the file.

    Raises:
        RequestValidationError: One is missing or wrong.
    """
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        bare = name.removesuffix("[]")
        if bare in _LISTS:
            fields.setdefault(bare, []).append(value)
        elif name in TranscribeForm.model_fields:
            fields[name] = value
    file = form.get("file")
    try:
        asked = TranscribeForm.model_validate(fields)
        options = asked.options
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if not isinstance(file, UploadFile):
        raise PipelineError("request.invalid", "file: a file is needed.", field="file")
    return asked, options, file


def _transcript(job: Job) -> Transcript:
    return read_transcript(services(), job.job_id, job.tenant_id).transcript


async def _events(asked: TranscribeForm, job: Job, changes: AsyncGenerator[Job]) -> AsyncIterator[str]:
    """Events of OpenAI's stream: text as it is heard, then segments where speakers are asked for, then all of it."""
    deltas = Deltas()
    try:
        async with aclosing(changes):
            async for job in changes:
                new = deltas.heard(job.partial_text)
                # The comment keeps whoever is in between from closing a stream that is silent.
                yield _event({"type": "transcript.text.delta", "delta": new}) if new else ": \n\n"
        check_completed(job)
        transcript = await run_in_threadpool(_transcript, job)
        text = plain_text(transcript.segments)
        if new := deltas.rest(text):
            yield _event({"type": "transcript.text.delta", "delta": new})
        if asked.response_format == "diarized_json":
            for segment in diarized_segments(transcript):
                yield _event(segment)
        yield _event({"type": "transcript.text.done", "text": text, "usage": usage(transcript)})
        yield "data: [DONE]\n\n"
    except PipelineError as error:
        yield f"data: {json.dumps({'error': openai_error(error)})}\n\n"


def _event(body: Mapping[str, Any]) -> str:
    return f"event: {body['type']}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"
