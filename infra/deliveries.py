"""Answering deliveries: who may call, in what form, and what the answer tells the one who delivers."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from cloudevents.http import from_http
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.bodies import read_body
from infra.wiring import Services, services
from shared.errors import PipelineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Received:
    """A delivery's data; see :class:`infra.cloud_events.Delivery`."""

    data: Any


async def answer_delivery(
    request: Request, handle: Callable[[Services, Received], None], *, threads: CapacityLimiter | None = None
) -> JSONResponse:
    """Check who delivers, read the event, and handle it; only what was handled is acknowledged.

    CloudEvents come from Eventarc and the local cloud, in binary or structured mode; a push subscription of Pub/Sub
    sends its bare envelope. A failure is answered by its status, so that the delivery is repeated, and once it has been
    repeated often enough lands in the dead letters, where someone can see it.

    Args:
        request: The delivery.
        handle: Does what it asks for.
        threads: What bounds how many are handled at once, for those that wait for long; otherwise they would take
            the places of all else that this process does in threads.
    """

    def checked() -> Services:
        found = services()
        found.callers.check(request.headers.get("authorization"))
        return found

    try:
        found = await run_in_threadpool(checked)
        received = _received(request, await read_body(request))
        await to_thread.run_sync(handle, found, received, limiter=threads)
    except PipelineError as error:
        log.warning("a delivery was not accepted: %s", error)
        return JSONResponse(error.info.model_dump(), error.http_status)
    return JSONResponse({"accepted": True})


def _received(request: Request, body: bytes) -> Received:
    content_type = request.headers.get("content-type", "")
    try:
        if "ce-type" in request.headers or content_type.startswith("application/cloudevents"):
            return Received(from_http(request.headers, body).data)
        return Received(json.loads(body))
    except Exception as error:  # the library raises what it likes for what it cannot read
        raise PipelineError("request.invalid", "This is not an event.") from error
