"""A real job store that is watched: what it commits is written down and held against the laws."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.advance import Step
from shared.errors import PipelineError
from shared.events import Event
from shared.jobs import Job
from shared.ports import JobStore
from tests.machine.laws import check_commit, check_creation


class HistoryStore(JobStore, Protocol):
    """A job store that also tells the history."""

    def history(self, job_id: str) -> list[Event]: ...


@dataclass
class WatchedStore:
    """Passes everything on, and is as unreliable as a service at the far end of a network when told to.

    Attributes:
        fault: Of the next change: ``refused`` writes nothing, ``unanswered`` is committed and looks as if not.
        stale: Whether each change is first tried on an outdated reading, as an optimistic store does.
        wishes: Facts that someone asks for now and that lead on from the end of a job.
        versions: Of each job, every document that was committed.
        events: Of each job, every event that was committed.
    """

    store: HistoryStore
    fault: str = ""
    stale: bool = False
    wishes: frozenset[str] = frozenset()
    versions: dict[str, list[Job]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)

    def create(self, step: Step) -> None:
        self.store.create(step)
        check_creation(step)
        self.versions[step.job.job_id] = [step.job]
        self.events[step.job.job_id] = list(step.events)

    def update(self, job_id: str, change: Callable[[Job], Step]) -> Step:
        fault, self.fault = self.fault, ""
        if fault == "refused":
            raise PipelineError("service.unavailable")
        readings: list[Job] = []

        def watched(job: Job) -> Step:
            if self.stale and len(self.versions[job_id]) > 1:
                change(self.versions[job_id][-2])
            readings.append(job)
            return change(job)

        step = self.store.update(job_id, watched)
        if step.job is not readings[-1]:
            assert readings[-1] == self.versions[job_id][-1], "a change was lost"
            check_commit(readings[-1], step, self.wishes)
            self.versions[job_id].append(step.job)
            self.events[job_id] += step.events
        else:
            assert not step.events, "an event of no change"
            assert not step.dispatch, "a claim of no change"
        if fault == "unanswered":
            raise PipelineError("service.unavailable")
        return step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)
