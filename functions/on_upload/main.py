"""A recording arrived: validate it by its content and say so."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.cloud_events import finalized_object
from infra.deliveries import Received, answer_delivery
from infra.pipeline.intake import receive_upload
from infra.wiring import Services


@functions_framework.aio.http
async def on_upload(request: Request) -> JSONResponse:
    """Handle an object's finalize event."""
    return await answer_delivery(request, _validate)


def _validate(services: Services, delivery: Received) -> None:
    if (uploaded := finalized_object(delivery)) is not None:
        receive_upload(services, uploaded)
