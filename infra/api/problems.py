"""Errors as RFC 9457 problem details, whatever raised them."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from infra.wiring import services
from shared.errors import CATALOGUE, PipelineError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# What the framework refuses by itself, as codes of ours.
_CODES: Mapping[int, str] = {
    400: "request.invalid",
    404: "request.no_such_path",
    405: "request.no_such_method",
    413: "request.too_large",
}
_MAX_ERRORS = 20


class Problem(BaseModel):
    """What is answered instead of a result (RFC 9457)."""

    type: str = Field(description="Where this code is explained.")
    title: str
    status: int
    detail: str = Field(description="One sentence about this request.")
    code: str = Field(description="Stable: to be compared by programs.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list["FieldError"] = Field(default=[], description="Each part of the request that is wrong.")
    error: "OpenAIError" = Field(description="The same as OpenAI's clients read it.")


class FieldError(BaseModel):
    """One part of a request that is wrong."""

    where: str
    message: str


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


def problem(
    error: PipelineError, *, errors: list[dict[str, str]] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer for an error."""
    body = problem_body(error, services().settings.public_url)
    if errors:
        body["errors"] = errors
    told = dict(headers or {})
    if error.code == "request.unauthorized":
        told["www-authenticate"] = "Bearer"
    if "retry_after_s" in error.details:
        told["retry-after"] = str(error.details["retry_after_s"])
    return JSONResponse(body, error.http_status, headers=told, media_type=MEDIA_TYPE)


def problem_body(error: PipelineError, public_url: str) -> dict[str, Any]:
    """The members of a problem."""
    return {
        "type": f"{public_url.rstrip('/')}/errors#{error.code}",
        "title": CATALOGUE[error.code].meaning,
        "status": error.http_status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "error": openai_error(error),
    }


def openai_error(error: PipelineError) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"message": error.message, "type": error.code.partition(".")[0], "param": None, "code": error.code}


def add_handlers(app: FastAPI) -> None:
    """Answer every error that a route or the framework raises as a problem."""
    app.add_exception_handler(PipelineError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these statuses as problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


async def _typed(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PipelineError):
        raise error
    return problem(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    # Never what was sent: it may be a secret.
    errors = [
        {"where": _where(found["loc"]), "message": found["msg"].removeprefix("Value error, ")}
        for found in error.errors()[:_MAX_ERRORS]
    ]
    first = errors[0]
    # Rules between fields are ours; the reference, which has none of them, calls such a request valid.
    contradicts = all(found["type"] == "value_error" for found in error.errors())
    code = "request.contradictory" if contradicts else "request.invalid"
    return problem(PipelineError(code, f"{first['where'] or 'body'}: {first['message']}"), errors=errors)


def _where(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("body", "query", "path", "header"))


async def _framework(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    typed = PipelineError(_CODES.get(error.status_code, "internal"))
    if error.status_code != typed.http_status:
        log.error("the framework raised %s for %s", error.status_code, request.url.path)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(sorted(_methods(request)))
    return problem(typed, headers=headers)


def _methods(request: Request) -> set[str]:
    """Of all routes with this path: the framework names those of the first alone.

    A path that is one's own name is not taken for what another route calls by a parameter.
    """
    found: dict[str, set[str]] = {}
    for route in (*request.app.routes, *(route for router in request.app.state.routers for route in router.routes)):
        methods = getattr(route, "methods", None)
        if methods and route.matches(request.scope)[0] is not Match.NONE:
            found.setdefault(route.path, set()).update(methods)
    return found[min(found, key=lambda path: path.count("{"))] if found else set()
