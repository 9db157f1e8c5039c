"""The OpenAPI document: what the framework knows of the routes, and what a reader needs besides."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute

from infra.api.examples import example
from infra.api.problems import MEDIA_TYPE, Problem, problem_body
from shared.errors import CATALOGUE, PipelineError

VERSION = "1"
DESCRIPTION = """Recordings in, attributed transcripts out: who said what, when.

Create a job, upload the recording by the signed request that comes with it, follow the job, read its transcript.

**Keys.** Every request carries an API key, as `authorization: Bearer ew_…` or as `x-api-key`. A key has scopes; it sees
its own tenant alone, and what belongs to another is answered like what is not there.

**Errors** are problem details (RFC 9457). Compare `code`, which is stable; `retryable` says whether the same request
may succeed later; `where` says which part of the request it is about, and `errors` lists all that are not as this
reference says. Each code is explained at `/errors`.

**Limits.** `ratelimit-*` headers say what is left; after 429 wait as `retry-after` says.

**Lists** answer `data` and `next_cursor`; pass it as `cursor` for the next page.

Times are UTC, in RFC 3339; spans are seconds, as names that end in `_s` say. Unknown fields and parameters are refused;
answers may get more fields, so ignore those you do not know.
"""
TAGS: Mapping[str, str] = {
    "jobs": "One job for each recording: created, followed, canceled, retried, deleted.",
    "transcripts": "What came out: read, searched, exported, corrected.",
    "webhooks": "Endpoints of yours that are told of events.",
    "keys": "Who may call, and what with.",
    "usage": "What was used, and who did what.",
    "openai": "For clients of OpenAI's API.",
    "operations": "Whether this deployment works, and what it does.",
}
# What stands for a stream of server-sent events: each of them is such an object (a keyword of OpenAPI 3.2).
EVENTS: Mapping[str, Any] = {
    "itemSchema": {
        "type": "object",
        "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}},
    }
}
_REFERENCE = "#/components/schemas/Problem"


def operation_id(route: APIRoute) -> str:
    """A stable name for a route: its kind of thing, and what it does."""
    return f"{route.tags[0] if route.tags else 'api'}_{route.name}"


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The framework's document, changed in place: with problems, tags, examples and servers."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problems = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problems.pop("$defs", {})
    schemas["Problem"] = problems
    document["servers"] = [{"url": "/", "description": "This deployment."}]
    used = {tag for _, _, operation in operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used] + [
        {"name": name} for name in sorted(used - TAGS.keys())
    ]
    responses: dict[str, Any] = {}
    for _, _, operation in operations(document):
        _summarise(operation)
        _share_problems(operation, responses)
        _add_examples(operation, schemas)
    document["components"]["responses"] = dict(sorted(responses.items()))
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of a document: path, method in lower case, and what is said of it."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "put", "post", "delete", "patch"):
                yield path, method, operation


def _summarise(operation: dict[str, Any]) -> None:
    """The beginning of what a route says of itself is its title."""
    if text := " ".join(operation.get("description", "").split()):
        operation["summary"] = re.split(r"[.,:;(]", text, maxsplit=1)[0].strip()


def _share_problems(operation: dict[str, Any], responses: dict[str, Any]) -> None:
    """Say what a problem of a status is once, not for each operation."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if list(content) == [MEDIA_TYPE] and content[MEDIA_TYPE]["schema"] == {"$ref": _REFERENCE}:
            name = f"Problem{status}"
            content[MEDIA_TYPE]["examples"] = {
                spec.code: {"summary": spec.meaning, "value": problem_body(PipelineError(spec.code), "")}
                for spec in CATALOGUE.values()
                if spec.http_status == int(status)
            }
            responses[name] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _add_examples(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    bodies = [operation.get("requestBody", {})]
    bodies += [response for response in operation["responses"].values() if "$ref" not in response]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if "example" in content or "examples" in content or not content.get("schema"):
                continue
            if media_type in ("application/json", "multipart/form-data"):
                content["example"] = example(content["schema"], schemas)
