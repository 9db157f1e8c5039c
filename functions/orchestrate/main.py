"""Something happened to a job: start what may start now."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.cloud_events import topic_event
from infra.deliveries import Received, answer_delivery
from infra.pipeline.dispatch import DISPATCHING_EVENTS, dispatch_due
from infra.wiring import Services


@functions_framework.aio.http
async def orchestrate(request: Request) -> JSONResponse:
    """Handle a message of the events topic."""
    return await answer_delivery(request, _dispatch)


def _dispatch(services: Services, delivery: Received) -> None:
    event = topic_event(delivery)
    # The subscription filters by type; one that does not costs a call, nothing else.
    if event.type in DISPATCHING_EVENTS:
        dispatch_due(services, event.jobid)
