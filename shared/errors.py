"""Typed errors. Codes are a public contract: they are only ever added, and each is documented here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from shared.model import Value


@dataclass(frozen=True)
class ErrorSpec:
    """One row of the catalogue.

    Attributes:
        code: Stable name, ``area.reason``.
        http_status: What an HTTP surface answers.
        retryable: Whether the same call may succeed later with nothing changed.
        meaning: One sentence for the documentation.
    """

    code: str
    http_status: int
    retryable: bool
    meaning: str


def _catalogue(*specs: ErrorSpec) -> Mapping[str, ErrorSpec]:
    table = {spec.code: spec for spec in specs}
    if len(table) != len(specs):
        raise ValueError("an error code is listed twice")
    return MappingProxyType(table)


CATALOGUE = _catalogue(
    ErrorSpec("request.invalid", 400, False, "The request is malformed or an option is out of range."),
    ErrorSpec("request.contradictory", 422, False, "Each part of the request is valid, but not all together."),
    ErrorSpec("request.too_large", 413, False, "The body is longer than what is accepted here."),
    ErrorSpec("request.unauthorized", 401, False, "The signature or token is missing, wrong or expired."),
    ErrorSpec("request.no_such_path", 404, False, "There is nothing at this address."),
    ErrorSpec("request.no_such_method", 405, False, "The address knows no such method."),
    ErrorSpec("request.forbidden", 403, False, "The API key lacks the scope that this needs."),
    ErrorSpec("request.too_many", 429, True, "More requests came than the API key allows; wait as Retry-After says."),
    ErrorSpec("idempotency.mismatch", 409, False, "The idempotency key was used for another request."),
    ErrorSpec("idempotency.in_progress", 409, True, "The first request with this idempotency key is still under way."),
    ErrorSpec("tenant.too_many_jobs", 429, True, "So many jobs of the tenant are under way that no more are taken."),
    ErrorSpec("key.not_found", 404, False, "No such API key, or it was revoked."),
    ErrorSpec("webhook.not_found", 404, False, "No such webhook endpoint."),
    ErrorSpec("webhook.too_many", 409, False, "The tenant has as many webhook endpoints as it may have."),
    ErrorSpec("delivery.not_found", 404, False, "No such webhook delivery, or its time in the log is over."),
    ErrorSpec("outbound.refused", 400, False, "The URL does not lead to a public address that may be called."),
    ErrorSpec("outbound.failed", 502, True, "Another server could not be reached, or did not answer as it should."),
    ErrorSpec("source.refused", 400, False, "The source's URL leads where nothing may be fetched from."),
    ErrorSpec("source.not_found", 404, False, "There is nothing at the source's address, or not for you."),
    ErrorSpec("source.unreachable", 502, True, "The source's server could not be reached, or broke off, to the end."),
    ErrorSpec("media.empty", 422, False, "The uploaded file has no bytes."),
    ErrorSpec("media.unsupported", 422, False, "The content is not audio or video in a format that is accepted."),
    ErrorSpec("media.no_audio", 422, False, "The file holds no audio stream."),
    ErrorSpec("media.zero_length", 422, False, "The audio stream holds no sound at all."),
    ErrorSpec("media.corrupt", 422, False, "The file is damaged or cut off."),
    ErrorSpec("media.encrypted", 422, False, "The audio is encrypted or protected by DRM."),
    ErrorSpec("media.type_mismatch", 422, False, "The declared content type contradicts the content."),
    ErrorSpec("media.too_large", 413, False, "The file is larger than the limit."),
    ErrorSpec("media.too_long", 422, False, "The recording is longer than the limit."),
    ErrorSpec("model.unknown", 400, False, "No model has this name for this stage."),
    ErrorSpec("model.corrupt", 500, False, "A model file does not have its listed checksum."),
    ErrorSpec("model.unavailable", 503, True, "A model could not be fetched or loaded."),
    ErrorSpec("gpu.out_of_memory", 503, True, "The accelerator ran out of memory."),
    ErrorSpec("stage.timeout", 504, True, "A stage took longer than its limit."),
    ErrorSpec("stage.crashed", 500, True, "The process that ran a stage died."),
    ErrorSpec("stage.lost", 503, True, "An attempt vanished with its runner and is tried again."),
    ErrorSpec("stage.artifact_missing", 500, True, "A stage reported an artifact that is not in the store."),
    ErrorSpec("job.not_found", 404, False, "No such job."),
    ErrorSpec("job.exists", 409, False, "A job with this id is there already."),
    ErrorSpec("job.conflict", 409, True, "The job was changed by someone else too often at once."),
    ErrorSpec("job.not_ready", 409, True, "The job has not come far enough for this request."),
    ErrorSpec("job.not_cancelable", 409, False, "The job has ended already."),
    ErrorSpec("job.not_retryable", 409, False, "The job did not fail, or its recording cannot be used."),
    ErrorSpec("job.overdue", 504, False, "The job did not end before its deadline."),
    ErrorSpec("job.unfinished", 504, False, "The job takes longer than this request waits; it goes on under its id."),
    ErrorSpec("job.no_transcript", 409, False, "The job ended without a transcript."),
    ErrorSpec("transcript.conflict", 409, False, "The transcript has another version by now than the one given."),
    ErrorSpec("transcript.no_such_place", 422, False, "An edit is of a place that is not there, or of another edit's."),
    ErrorSpec("transcript.no_such_version", 404, False, "The transcript has no such version."),
    ErrorSpec("transcript.no_such_speaker", 404, False, "The transcript has no such speaker."),
    ErrorSpec("document.not_found", 404, False, "No such thing."),
    ErrorSpec("document.exists", 409, False, "It is there already."),
    ErrorSpec("document.conflict", 409, True, "It was changed by someone else too often at once."),
    ErrorSpec("object.not_found", 404, False, "No such object."),
    ErrorSpec("object.exists", 412, False, "The object exists already and is never overwritten."),
    ErrorSpec("object.too_large", 413, False, "The upload is larger than its signed limit."),
    ErrorSpec("object.invalid", 400, False, "The upload request breaks its protocol."),
    ErrorSpec("upload.expired", 410, False, "The upload did not arrive before its URL expired."),
    ErrorSpec("service.unavailable", 503, True, "A service this one depends on did not answer."),
    ErrorSpec("internal", 500, True, "A defect of ours; the details are in the log under the job id."),
)


class ErrorInfo(Value):
    """An error as data: on a stage, a job, an event or an HTTP answer.

    Attributes:
        code: A code of :data:`CATALOGUE` (a newer producer may send one that is not yet there).
        message: One sentence for the person who uploaded.
        retryable: Whether trying again may help.
    """

    code: str
    message: str
    retryable: bool = False


class PipelineError(Exception):
    """The one exception that crosses a boundary of this system.

    Args:
        code: A code of :data:`CATALOGUE`.
        message: One sentence; the catalogue's own if left out.
        details: Values for a program: limits, sizes, names. Never secrets or paths. ``field`` is the part of a
            request that it is about, as the request names it.

    Raises:
        KeyError: The code is not in the catalogue.
    """

    def __init__(self, code: str, message: str | None = None, **details: Any) -> None:
        spec = CATALOGUE[code]
        self.code = code
        self.message = message or spec.meaning
        self.retryable = spec.retryable
        self.http_status = spec.http_status
        self.details = details
        super().__init__(f"{code}: {self.message}")

    @property
    def info(self) -> ErrorInfo:
        """The error as data."""
        return ErrorInfo(code=self.code, message=self.message, retryable=self.retryable)


@contextmanager
def of_field(name: str) -> Iterator[None]:
    """Within the block errors are about this part of the request, unless they name another."""
    try:
        yield
    except PipelineError as error:
        if error.http_status < 500:  # the others are about no part of it
            error.details.setdefault("field", name)
        raise
