"""What a stage runner is told, and what it reports. A runner holds no cloud credentials: only these URLs."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter

from shared.events import StageCompleted, StageFailed, StageProgressed
from shared.media import MediaLimits
from shared.model import Value
from shared.options import JobOptions


class SignedRequest(Value):
    """A request that whoever holds it may send: every header listed must be sent as it is."""

    method: str
    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class Output(Value):
    """Where one artifact goes; the upload succeeds only while nothing is there."""

    filename: str
    upload: SignedRequest


class ReportTarget(Value):
    """Where reports go, and a token that is good for this attempt alone.

    Attributes:
        interval_s: Least time between two reports of progress.
    """

    url: str
    token: str
    interval_s: float = 1.0


class StageRequest(Value):
    """One attempt of one stage of one job.

    Attributes:
        inputs: Signed GET URL by kind (``media``, ``words`` …).
        outputs: Signed uploads of the stage's products.
        deadline: When the result is of no use any more.
        traceparent: Of the job's trace, to be sent with reports; may be empty.
    """

    job_id: str
    tenant_id: str
    stage: str
    attempt: int
    inputs: dict[str, str]
    outputs: tuple[Output, ...]
    options: JobOptions
    limits: MediaLimits
    deadline: datetime
    report: ReportTarget
    traceparent: str = ""


Report = Annotated[StageProgressed | StageCompleted | StageFailed, Field(discriminator="type")]
REPORT: TypeAdapter[StageProgressed | StageCompleted | StageFailed] = TypeAdapter(Report)
