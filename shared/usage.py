"""What a tenant has used, by job: kept when the job itself is long deleted."""

from datetime import date, datetime
from typing import ClassVar

from shared.documents import Document
from shared.events import Metrics
from shared.model import Value


class Used(Value):
    """What one attempt of a stage took.

    Attributes:
        duration_s: From when it began to run to its end; ``None`` where nobody saw it begin.
    """

    metrics: Metrics
    duration_s: float | None = None


class UsageEntry(Document):
    """What one job has used. Its id is the job's, so entries sort by the time of their jobs' creation.

    Attributes:
        at: When its recording was accepted.
        attempts: By stage and number, ``transcribe/1``: so one that is told twice counts once.
    """

    collection: ClassVar[str] = "usage"
    at: datetime
    attempts: dict[str, Used] = {}  # noqa: RUF012 (pydantic copies defaults)

    @property
    def audio_s(self) -> float:
        """Length of the recording, however many stages and attempts decoded it."""
        return max((used.metrics.audio_s for used in self.attempts.values()), default=0.0)

    @property
    def compute_s(self) -> float:
        """Wall time of all models' work."""
        return sum(used.metrics.compute_s for used in self.attempts.values())

    @property
    def cost_usd(self) -> float | None:
        """Of all attempts whose price is known; ``None`` without any."""
        known = [used.metrics.cost_usd for used in self.attempts.values() if used.metrics.cost_usd is not None]
        return sum(known) if known else None

    def with_attempt(self, name: str, used: Used) -> "UsageEntry":
        """The entry with one attempt more, or the very same."""
        return self if name in self.attempts else self.model_copy(update={"attempts": {**self.attempts, name: used}})


class UsageDay(Value):
    """What the jobs that were created on a day (UTC) have used.

    Attributes:
        jobs: Of them, those whose recording was accepted.
        cost_usd: Of the attempts whose price is known; ``None`` without any.
    """

    day: date
    jobs: int = 0
    audio_s: float = 0.0
    compute_s: float = 0.0
    cost_usd: float | None = None

    def with_entry(self, entry: UsageEntry) -> "UsageDay":
        """The day with one job more."""
        cost = entry.cost_usd
        return self.model_copy(
            update={
                "jobs": self.jobs + 1,
                "audio_s": self.audio_s + entry.audio_s,
                "compute_s": self.compute_s + entry.compute_s,
                "cost_usd": self.cost_usd if cost is None else (self.cost_usd or 0.0) + cost,
            }
        )
