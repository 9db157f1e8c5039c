"""A recording arrived: validate it by its content and say so."""

import functions_framework.aio
from cloudevents.http import CloudEvent

from infra.cloud_events import finalized_object
from infra.pipeline.intake import receive_upload
from infra.wiring import services


@functions_framework.aio.cloud_event
def on_upload(event: CloudEvent) -> None:
    """Handle a Cloud Storage finalize event; raising makes it be delivered again."""
    receive_upload(services(), finalized_object(event))
