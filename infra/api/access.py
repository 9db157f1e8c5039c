"""Who is calling, what they may do, and how often."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from infra.api.edge import ANSWER_HEADERS
from infra.observability.context import note
from infra.pipeline.keys import authenticate
from infra.wiring import Services, services
from shared.errors import PipelineError
from shared.keys import DEFAULT_TENANT, SCOPES, Principal

# So long a key that was revoked elsewhere may still be used here.
REMEMBERED_S = 5.0
_MAX_REMEMBERED = 10_000
_WINDOW_S = 60.0

_bearer = HTTPBearer(auto_error=False, description="An API key.")
# Where the platform in front has taken the authorization header for itself.
_header = APIKeyHeader(name="x-api-key", auto_error=False, description="An API key.")


@dataclass
class _Bucket:
    """A token bucket: requests that are left, and when that was counted."""

    left: float
    at: float


class Gate:
    """What this process knows of keys that were used lately."""

    def __init__(self) -> None:
        self._principals: dict[str, tuple[float, Principal]] = {}
        self._buckets: dict[str, _Bucket] = {}

    def forget(self) -> None:
        """Look every key up again: one was changed here."""
        self._principals.clear()

    async def principal(self, found: Services, token: str) -> Principal:
        """Whom a token stands for.

        Raises:
            PipelineError: ``request.unauthorized``.
        """
        now = time.monotonic()
        if (known := self._principals.get(token)) and now < known[0]:
            return known[1]
        principal = await run_in_threadpool(authenticate, found, token)
        if len(self._principals) >= _MAX_REMEMBERED:
            self._principals.clear()
        self._principals[token] = (now + REMEMBERED_S, principal)
        return principal

    def count(self, principal: Principal, limit: int) -> Mapping[str, str]:
        """Count one request of a key, on each instance of the API by itself; the headers that say what is left.

        Raises:
            PipelineError: ``request.too_many``, with ``retry_after_s``.
        """
        now = time.monotonic()
        bucket = self._buckets.setdefault(principal.key_id, _Bucket(limit, now))
        bucket.left = min(limit, bucket.left + (now - bucket.at) * limit / _WINDOW_S)
        bucket.at = now
        if bucket.left < 1:
            wait_s = int((1 - bucket.left) * _WINDOW_S / limit) + 1
            raise PipelineError("request.too_many", retry_after_s=wait_s, limit=limit)
        bucket.left -= 1
        left, reset_s = int(bucket.left), int((limit - bucket.left) * _WINDOW_S / limit) + 1
        # The structured fields of the IETF's latest draft, and the names that most clients know.
        return {
            "ratelimit-policy": f'"default";q={limit};w={int(_WINDOW_S)}',
            "ratelimit": f'"default";r={left};t={reset_s}',
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(left),
            "ratelimit-reset": str(reset_s),
        }


gate = Gate()


def allowed(*scopes: str) -> Any:
    """A dependency: the caller, who has these scopes."""

    async def check(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> Principal:
        found = services()
        token = header or (bearer.credentials if bearer else "")
        if found.settings.api_access == "platform":
            principal = Principal(tenant_id=DEFAULT_TENANT, scopes=tuple(SCOPES))
        elif not token:
            raise PipelineError("request.unauthorized", "An API key is needed: authorization: Bearer ew_…")
        else:
            principal = await gate.principal(found, token)
            limit = principal.requests_per_minute or found.settings.requests_per_minute
            request.scope[ANSWER_HEADERS].update(gate.count(principal, limit))
        request.state.principal = principal
        note(tenant_id=principal.tenant_id)
        principal.check(*scopes)
        return principal

    return Depends(check)
