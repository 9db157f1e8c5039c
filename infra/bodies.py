"""How much of a request's body is read. Recordings go to the object store, never through a function."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import PipelineError

MAX_BODY_BYTES = 1_000_000


class BodyLimit:
    """ASGI middleware that refuses a body that goes on for too long, announced or not, with status 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the application with a body that ends."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
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
