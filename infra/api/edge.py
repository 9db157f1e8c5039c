"""What surrounds every request: headers of every answer, and an answer where nobody else gave one."""

import logging
import secrets
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.api.problems import problem
from infra.observability.context import concerning, is_traceparent, new_traceparent
from infra.observability.requests import request_counts
from infra.observability.tracing import describe_span, span
from shared.errors import PipelineError

log = logging.getLogger(__name__)

# Where in the scope of a request headers stand that its answer gets, an error's too.
ANSWER_HEADERS = "earwitness.answer_headers"
# After the OWASP secure headers for APIs. Pages of ours that need more say so themselves.
HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-site",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_RAW_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
# Where there is no route, or a method nobody knows: anyone could make up names without end.
_OTHER = "other"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Edge:
    """ASGI middleware, the outermost: gives requests an id, and no defect of ours reaches a caller but as a problem.

    A handler of the framework's for every exception would answer and raise it again, which breaks the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope["request_id"] = request_id
        scope[ANSWER_HEADERS] = {}
        scope.pop("route", None)  # of whatever serves this application
        begun = time.perf_counter()
        status = 0

        async def completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _complete(message["headers"], request_id, scope[ANSWER_HEADERS])
            await send(message)

        with concerning(request_id=request_id), span("http request", _traceparent(scope)):
            try:
                await self._app(scope, receive, completed)
            except Exception:  # the last place where it can become an answer
                log.exception("%s %s broke (%s)", scope["method"], scope["path"], request_id)
                if status:
                    raise
                await problem(PipelineError("internal"))(scope, receive, completed)
            finally:
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                route = _route(scope)
                request_counts.add(method, route, status, time.perf_counter() - begun)
                describe_span(f"{method} {route}", **{"http.response.status_code": status})


def _complete(given: list[tuple[bytes, bytes]], request_id: str, more: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and what every answer has beside them."""
    names = {name for name, _ in given}
    added = [(b"x-request-id", request_id.encode())]
    added += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in more.items()]
    return [*given, *added, *(header for header in _RAW_HEADERS if header[0] not in names)]


def _traceparent(scope: Scope) -> str:
    """The trace that the caller says the request is of, or a new one."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            found: str = value.decode("latin-1")
            return found if is_traceparent(found) else new_traceparent()
    return new_traceparent()


def _route(scope: Scope) -> str:
    """The path as the reference names it, never the one that was asked for."""
    return str(getattr(scope.get("route"), "path", _OTHER))
