"""What surrounds every request: headers of every answer, and an answer where nobody else gave one."""

import logging
import secrets
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.api.problems import problem
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
        is_begun = False

        async def completed(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(scope[ANSWER_HEADERS])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, completed)
        except Exception:  # the last place where it can become an answer
            log.exception("%s %s broke (%s)", scope["method"], scope["path"], request_id)
            if is_begun:
                raise
            await problem(PipelineError("internal"))(scope, receive, completed)
