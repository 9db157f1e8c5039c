"""Something happened to a job: tell who wants to know, by signed webhooks."""

import functions_framework.aio
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.cloud_events import delivery_id, topic_event
from infra.deliveries import Received, answer_delivery
from infra.pipeline.delivering import deliver
from infra.pipeline.webhooks import fan_out
from infra.wiring import Services

# Attempts wait for others' servers, and do little else.
_threads = CapacityLimiter(100)


@functions_framework.aio.http
async def notify(request: Request) -> JSONResponse:
    """Handle a message of the events topic, or one that asks for an attempt to deliver."""
    return await answer_delivery(request, _handle, threads=_threads)


def _handle(services: Services, delivery: Received) -> None:
    if (wanted := delivery_id(delivery)) is not None:
        deliver(services, wanted)
    else:
        fan_out(services, topic_event(delivery))
