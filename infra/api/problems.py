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
_UNREADABLE = "The body cannot be read: it is not UTF-8, is nested too deeply, or breaks off."
_MAX_ERRORS = 20
# Where the framework says first that something is.
_PLACES = ("body", "query", "path", "header")
# What has a form of its own, by its name: nobody should have to read a regular expression.
_FORMS: Mapping[str, str] = {
    "content_type": "A content type is written as in audio/wav.",
    "cursor": "It is no cursor of this list.",
    "hotwords": "A word or name is written in one line.",
    "idempotency-key": "A key has 1 to 255 characters of ASCII, without spaces.",
    "keywords": "A word or name is written in one line.",
    "language": "A language is given by its ISO 639 code, such as en.",
    "metadata": "A name has up to 40 letters, digits, hyphens and underscores, and begins with a letter or digit.",
    "name": "A name is written in one line, without spaces at its ends.",
    "source_uri": "An object is named as gs://BUCKET/NAME.",
    "stages": "A stage is named as in the table of stages.",
}


class Problem(BaseModel):
    """What is answered instead of a result (RFC 9457)."""

    type: str = Field(description="Where this code is explained.")
    title: str
    status: int
    detail: str = Field(description="One sentence about this request.")
    code: str = Field(description="Stable: to be compared by programs.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    where: str = Field(
        default="", description="The part of the request that it is about, or the first; empty for none."
    )
    errors: list["FieldError"] = Field(
        default=[], description="Each part that is not as this reference says, where that is why it was refused."
    )
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
    body = problem_body(error, services().settings.public_url, errors)
    told = dict(headers or {})
    if error.code == "request.unauthorized":
        told["www-authenticate"] = "Bearer"
    if "retry_after_s" in error.details:
        told["retry-after"] = str(error.details["retry_after_s"])
    return JSONResponse(body, error.http_status, headers=told, media_type=MEDIA_TYPE)


def problem_body(error: PipelineError, public_url: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The members of a problem."""
    where = errors[0]["where"] if errors else str(error.details.get("field", ""))
    body = {
        "type": f"{public_url.rstrip('/')}/errors#{error.code}",
        "title": CATALOGUE[error.code].meaning,
        "status": error.http_status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "where": where,
        "error": openai_error(error, where),
    }
    return {**body, "errors": errors} if errors else body


def openai_error(error: PipelineError, where: str = "") -> dict[str, Any]:
    """An error as OpenAI's clients read it, who know a field by its last name."""
    param = where.rpartition(".")[2] or None
    return {"message": error.message, "type": error.code.partition(".")[0], "param": param, "code": error.code}


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


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    # Never what was sent: it may be a secret.
    errors = [
        {"where": _where(found), "message": _message(found, request.headers.get("content-type", ""))}
        for found in error.errors()[:_MAX_ERRORS]
    ]
    first = errors[0]
    # Rules between fields are ours; the reference, which has none of them, calls such a request valid.
    contradicts = all(found["type"] == "value_error" for found in error.errors())
    code = "request.contradictory" if contradicts else "request.invalid"
    return problem(PipelineError(code, f"{first['where'] or 'body'}: {first['message']}"), errors=errors)


def _where(found: Mapping[str, Any]) -> str:
    place = found["loc"]
    if found["type"] == "json_invalid":  # its place is a character's
        return ""
    return ".".join(str(part) for part in (place[1:] if place[:1] and place[0] in _PLACES else place))


def _message(found: Mapping[str, Any], content_type: str) -> str:
    """What is wrong, in words that help whoever wrote the request."""
    match found["type"]:
        case "json_invalid":
            at = f" (character {found['loc'][-1]})" if found["loc"] else ""  # or the reason says it
            return f"It is not JSON: {found.get('ctx', {}).get('error', 'it breaks off')}{at}."
        case "model_attributes_type" if found["loc"] == ("body",) and "json" not in content_type:
            return "It is read as JSON with the header content-type: application/json only."
        case "extra_forbidden":
            return "There is no such field."
        case "string_pattern_mismatch":
            names = [str(part).lower() for part in found["loc"] if isinstance(part, str) and part != "[key]"]
            return next((_FORMS[name] for name in reversed(names) if name in _FORMS), str(found["msg"]))
    return str(found["msg"]).removeprefix("Value error, ")


async def _framework(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    typed = PipelineError(_CODES.get(error.status_code, "internal"), _UNREADABLE if error.status_code == 400 else None)
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
