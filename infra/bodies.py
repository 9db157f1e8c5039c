"""How much of a request's body is read. Recordings go to the object store, never through a function."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import PipelineError

MAX_BODY_BYTES = 1_000_000


class BodyLimit:
    """ASGI middleware that refuses a body that goes on for too long, announced or not, with status 413.

    Args:
        app: The application.
        larger: Paths whose bodies may have more than ``MAX_BODY_BYTES``, and how many.
    """

    def __init__(self, app: ASGIApp, *, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the application with a body that ends."""
        received = 0
        max_bytes = self._larger.get(scope.get("path", ""), MAX_BODY_BYTES)
        announced = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""

        async def limited() -> Message:
            nonlocal received
            # Before the first byte: whoever waits for leave to send (100-continue) need not.
            if announced.isdecimal() and int(announced) > max_bytes:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, limited, send)


async def read_body(request: Request) -> bytes:
    """The whole body of a request.

    Raises:
        PipelineError: ``request.too_large`` when it is longer than ``MAX_BODY_BYTES``.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise PipelineError("request.too_large", max_bytes=MAX_BODY_BYTES)
    return bytes(body)
