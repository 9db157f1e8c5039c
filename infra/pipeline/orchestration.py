"""What is done about an event of a job."""

from infra.observability.tracing import span
from infra.pipeline.control import STOPPING_EVENTS, erase, stop_calls
from infra.pipeline.dispatch import DISPATCHING_EVENTS, dispatch_due
from infra.pipeline.usage import note_usage
from infra.wiring import Services
from shared.events import Event

# What the subscription of ``orchestrate`` filters by.
ORCHESTRATED_EVENTS = DISPATCHING_EVENTS | STOPPING_EVENTS


def orchestrate_event(services: Services, event: Event) -> None:
    """Start what may start now, or stop what nobody waits for any more. Safe to repeat, in any order.

    Raises:
        PipelineError: A retryable one, so that the event is delivered again.
    """
    with span(f"orchestrate {event.type}", event.traceparent, job_id=event.jobid, tenant_id=event.tenantid):
        _orchestrate(services, event)


def _orchestrate(services: Services, event: Event) -> None:
    if event.type in STOPPING_EVENTS:
        job = services.jobs.get(event.jobid)
        stop_calls(services, job)
        erase(services, job)
    if event.type in DISPATCHING_EVENTS:
        dispatch_due(services, event.jobid)
    note_usage(services, event)
