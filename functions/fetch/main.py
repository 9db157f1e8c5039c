"""A job was created for a recording that is somewhere already: fetch it, or look at it where it is."""

import functions_framework.aio
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.cloud_events import topic_event
from infra.deliveries import Received, answer_delivery
from infra.pipeline.fetching import fetch_source
from infra.wiring import Services

# Each waits for another server, and holds little.
_threads = CapacityLimiter(32)


@functions_framework.aio.http
async def fetch(request: Request) -> JSONResponse:
    """Handle a message of the events topic."""
    return await answer_delivery(request, _handle, threads=_threads)


def _handle(services: Services, delivery: Received) -> None:
    fetch_source(services, topic_event(delivery))
