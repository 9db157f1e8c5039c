"""What a GPU job answers to its runner, read as the state of a call."""

from typing import Any

from shared.errors import ErrorInfo, PipelineError
from shared.events import StageCompleted
from shared.model import Value
from shared.ports import Call, CallState


class _Answer(Value):
    """What ``gpu_jobs.attempt.run_attempt`` returns."""

    ok: bool
    error: ErrorInfo | None = None
    report: StageCompleted | None = None


def answered_call(answer: Any) -> Call:
    """The state of a call that has answered.

    Args:
        answer: Plain data.

    Raises:
        ValueError: It is no answer of a GPU job.
    """
    read = _Answer.from_data(answer)
    if read.ok:
        return Call(CallState.SUCCEEDED, report=read.report)
    # The job has reported this failure; it is repeated here in case the report got lost.
    return Call(CallState.FAILED, read.error or PipelineError("internal").info)
