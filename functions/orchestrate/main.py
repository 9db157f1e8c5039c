"""Something happened to a job: start what may start now, stop what nobody waits for."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.cloud_events import topic_event
from infra.deliveries import Received, answer_delivery
from infra.pipeline.orchestration import orchestrate_event
from infra.wiring import Services


@functions_framework.aio.http
async def orchestrate(request: Request) -> JSONResponse:
    """Handle a message of the events topic."""
    return await answer_delivery(request, _handle)


def _handle(services: Services, delivery: Received) -> None:
    orchestrate_event(services, topic_event(delivery))
