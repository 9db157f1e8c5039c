"""One attempt of one stage: fetch the media, do the work, store the products, report."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Protocol

import httpx

from gpu_jobs.reporting import Reporter, Unwanted
from gpu_jobs.transfer import TIMEOUT, download, upload
from shared.errors import PipelineError
from shared.events import Artifact, Metrics, StageCompleted, StageFailed
from shared.model import Value
from shared.requests import Output, StageRequest
from shared.stages import STAGES
from shared.transcript import Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What the work of a stage came to.

    Attributes:
        products: Content of each artifact, by filename.
        metrics: What it took.
        notices: What is worth telling.
    """

    products: Mapping[str, Value]
    metrics: Metrics
    notices: tuple[Notice, ...] = ()


OnProgress = Callable[[float, str | None], None]
"""Told the share done, 0..1, and the end of what was heard so far, if that is text; raises to stop the work."""


class Work(Protocol):
    """The part of an attempt that is a stage's own."""

    def __call__(self, media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        """Do it.

        Args:
            media: The recording, as uploaded.
            request: Options and limits.
            on_progress: To be called often.
        """
        ...


def run_attempt(request: StageRequest, work: Work) -> dict[str, Any]:
    """Run an attempt to its end and report it. Nothing raised by the work leaves this function.

    Args:
        request: The attempt.
        work: What to do with the media.

    Returns:
        ``{"ok": True, "report": …}`` with the :class:`~shared.events.StageCompleted` as plain data, even if that
        could not be delivered, or ``{"ok": False, "error": {code, message, retryable}}``: for a runner that is
        asked before, or instead of, the report's arrival.
    """
    with httpx.Client(timeout=TIMEOUT) as client, Reporter(client, request) as reporter:
        report: StageCompleted | StageFailed
        try:
            report = _attempt(client, request, work, reporter)
        except Unwanted:
            return _refused(request)
        except Exception as error:  # noqa: BLE001 - the boundary: every failure becomes a report
            report = _failure(request, error)
        try:
            reporter.finish(report)
        except Unwanted:
            return _refused(request)
        except PipelineError as error:
            # The work is done and its products are stored. The answer tells so to who asks the runner.
            log.error("%s could not be reported: %s", report.type, error)
    if isinstance(report, StageFailed):
        return {"ok": False, "error": report.error.model_dump()}
    return {"ok": True, "report": report.model_dump(mode="json")}


def _attempt(client: httpx.Client, request: StageRequest, work: Work, reporter: Reporter) -> StageCompleted:
    def on_progress(share: float, partial_text: str | None) -> None:
        _check_deadline(request)
        reporter.progress(share, partial_text)

    on_progress(0.0, None)
    # A file without a name: nothing of the recording stays behind, even if this process is killed.
    with tempfile.TemporaryFile() as media:
        download(client, request.inputs["media"], media, request.limits)
        _check_deadline(request)
        outcome = work(media, request, on_progress)
    artifacts = tuple(_store(client, request, output, outcome) for output in request.outputs)
    return StageCompleted(
        stage=request.stage,
        attempt=request.attempt,
        artifacts=artifacts,
        metrics=outcome.metrics,
        notices=outcome.notices,
    )


def _store(client: httpx.Client, request: StageRequest, output: Output, outcome: Outcome) -> Artifact:
    kind = next(row.kind for row in STAGES[request.stage].products if row.filename == output.filename)
    stored = upload(client, output.upload, outcome.products[output.filename].to_json().encode())
    return Artifact(kind=kind, filename=output.filename, object=stored)


def _check_deadline(request: StageRequest) -> None:
    if datetime.now(UTC) >= request.deadline:
        raise PipelineError("stage.timeout")


def _failure(request: StageRequest, error: Exception) -> StageFailed:
    failure = as_pipeline_error(error)
    if failure is error:
        log.warning("attempt failed: job %s, %s %d: %s", request.job_id, request.stage, request.attempt, failure)
    else:
        # The traceback stays in the log: a report is read by the person who uploaded.
        log.exception("attempt failed: job %s, %s %d", request.job_id, request.stage, request.attempt, exc_info=error)
    return StageFailed(stage=request.stage, attempt=request.attempt, error=failure.info)


def _refused(request: StageRequest) -> dict[str, Any]:
    log.info("attempt no longer wanted: job %s, %s %d", request.job_id, request.stage, request.attempt)
    # Whoever still waits for this attempt, because it was refused by mistake, tries again.
    error = PipelineError("stage.lost", "This attempt was told that nobody waits for it.")
    return {"ok": False, "error": error.info.model_dump()}


def as_pipeline_error(error: Exception) -> PipelineError:
    """What an exception of a stage's work is to the outside: typed, without paths or code.

    Out of memory is told by name and message, because neither torch nor ctranslate2 may be imported here:
    ``torch.OutOfMemoryError``, and ``RuntimeError("CUDA failed with error out of memory")``.
    """
    if isinstance(error, PipelineError):
        return error
    is_runtime_error = isinstance(error, RuntimeError)
    if isinstance(error, MemoryError) or (is_runtime_error and "out of memory" in str(error).lower()):
        return PipelineError("gpu.out_of_memory")
    return PipelineError("internal")
