"""Publishing what was committed."""

from typing import Protocol

from shared.ports import Clock, DocumentStore, EventBus, JobStore


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
        stores.jobs.mark_published(event.id for event in events)
    return len(events)
