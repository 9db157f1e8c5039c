"""Publishing what was committed."""

from infra.wiring import Services


def publish_committed(services: Services, job_id: str | None = None, *, limit: int = 100) -> int:
    """Publish events that wait in the outbox, of one job or of all; return how many.

    A crash between the two calls publishes an event again, under the same id.
    """
    events = services.jobs.unpublished(limit=limit, job_id=job_id)
    if events:
        services.events.publish(events)
        services.jobs.mark_published(event.id for event in events)
    return len(events)
