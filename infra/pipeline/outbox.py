"""Publishing what was committed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from infra.observability.counted import tell
from shared.events import Event
from shared.jobs import JobState
from shared.ports import Clock, DocumentStore, EventBus, JobStore

# Which state an event says that its job has ended in. Jobs that are deleted are told of by whoever wanted it.
_ENDINGS: Mapping[str, JobState] = MappingProxyType(
    {
        "job.completed": JobState.COMPLETED,
        "media.rejected": JobState.REJECTED,
        "job.failed": JobState.FAILED,
        "job.canceled": JobState.CANCELED,
        "job.expired": JobState.EXPIRED,
    }
)


class Stores(Protocol):
    """The services that a change of a job needs: any :class:`infra.wiring.Services` has them."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def jobs(self) -> JobStore:
        """Status documents and the outbox."""
        ...

    @property
    def documents(self) -> DocumentStore:
        """Small documents beside the jobs."""
        ...

    @property
    def events(self) -> EventBus:
        """The events topic."""
        ...


def publish_committed(stores: Stores, job_id: str | None = None, *, limit: int = 100) -> int:
    """Publish events that wait in the outbox, of one job or of all; return how many.

    A crash between the two calls publishes an event again, under the same id.
    """
    events = stores.jobs.unpublished(limit=limit, job_id=job_id)
    if events:
        stores.events.publish(events)
        for event in events:
            _tell_of_ending(event)
        stores.jobs.mark_published(event.id for event in events)
    return len(events)


def _tell_of_ending(event: Event) -> None:
    """So it is told at least once, like the event itself."""
    if (state := _ENDINGS.get(event.type)) is not None:
        error = event.data.get("error") or {}
        tell("job.ended", state=state, code=error.get("code"), job_id=event.jobid, tenant_id=event.tenantid)
