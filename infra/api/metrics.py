"""Metrics for Prometheus, for whoever has the deployment's own token."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from infra.wiring import services
from shared.errors import PipelineError

# No part of what tenants see, and of its reference.
router = APIRouter(include_in_schema=False)

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_bearer = HTTPBearer(auto_error=False)


@router.get("/metrics")
def metrics(bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Response:
    """All metrics. Without the setting ``metrics_token`` there is nothing at this address."""
    found = services()
    if found.settings.metrics_token is None:
        raise PipelineError("request.no_such_path")
    given = bearer.credentials if bearer else ""
    if not hmac.compare_digest(given.encode(), found.settings.metrics_token.get_secret_value().encode()):
        raise PipelineError("request.unauthorized")
    from infra.observability.metrics import scrape  # a tenth of a second that no other request waits for

    return Response(scrape(found), media_type=_TYPE)
