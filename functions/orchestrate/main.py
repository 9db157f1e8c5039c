"""Something happened to a job: start what may start now."""

import functions_framework.aio
from cloudevents.http import CloudEvent

from infra.cloud_events import topic_event
from infra.pipeline.dispatch import dispatch_due
from infra.wiring import services


@functions_framework.aio.cloud_event
def orchestrate(event: CloudEvent) -> None:
    """Handle a message of the events topic; raising makes it be delivered again."""
    dispatch_due(services(), topic_event(event).jobid)
