"""Which web pages may call the API."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.wiring import services

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id")
EXPOSED_HEADERS = (
    "etag",
    "idempotency-replayed",
    "link",
    "location",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-job-id",
    "x-request-id",
)
_PREFLIGHT_S = 600


class Cors:
    """ASGI middleware: the setting's origins may call, and read what answers say in headers. By default none may."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._by_origins: dict[tuple[str, ...], ASGIApp] = {(): app}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # Settings are read when the first request comes, not when a function is loaded.
        origins = services().settings.cors_origins if scope["type"] == "http" else ()
        if origins not in self._by_origins:
            self._by_origins[origins] = CORSMiddleware(
                self._app,
                allow_origins=origins,
                allow_methods=METHODS,
                allow_headers=(*REQUEST_HEADERS, "x-api-key"),
                expose_headers=EXPOSED_HEADERS,
                max_age=_PREFLIGHT_S,
            )
        await self._by_origins[origins](scope, receive, send)
