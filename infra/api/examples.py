"""Examples of what goes in and out, made from the schemas, so that there is one for everything."""

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_MOMENT = "2026-01-01T12:00:00Z"
_JOB = "job_019b7a31c0007d5f2a8c41e09b36"
# What a field of a name holds, where the type alone would say nothing.
_NAMED: Mapping[str, Any] = {
    "actor": "key_4f8a1c09d2e75b36a1f0",
    "audio_s": 61.4,
    "code": "media.unsupported",
    "content_type": "audio/mp4",
    "device": "cuda",
    "document_id": "whe_4f8a1c09d2e75b36a1f0",
    "duration_s": 61.4,
    "end_s": 1.72,
    "event_id": f"{_JOB}/7/job.completed",
    "filename": "meeting.m4a",
    "grace_s": 3600.0,
    "job_id": _JOB,
    "key_id": "key_4f8a1c09d2e75b36a1f0",
    "language": "en",
    "message": "The content is not audio or video in a format that is accepted.",
    "metadata": {"meeting": "weekly"},
    "method": "PUT",
    "name": "Weekly meeting",
    "owner_id": "user-17",
    "partial_text": "Good morning, everyone.",
    "prefix": "ew_4f8a1c09d2e75b36a1f0",
    "probability": 0.98,
    "progress": 0.42,
    "requests_per_minute": 600,
    "revision": 7,
    "scopes": ["jobs:read", "jobs:write"],
    "size_bytes": 982_144,
    "source_url": "https://media.example.com/meeting.m4a",
    "speaker": "SPEAKER_00",
    "start_s": 1.28,
    "tenant_id": "default",
    "text": " morning",
    "token": "ew_4f8a1c09d2e75b36a1f0_…",
    "url": "https://example.com/hooks/earwitness",
}
_MAX_DEPTH = 12


def example(schema: Schema, schemas: Mapping[str, Schema], name: str = "", depth: int = 0) -> Any:
    """A value that a schema allows.

    Args:
        schema: As it stands in an OpenAPI document.
        schemas: The document's components.
        name: Of the field that it is for.
        depth: How deep in another example.
    """
    for found in (schema.get("examples") or [])[:1]:
        return found
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            first = schema[keyword][0]
            # What may be left out is, unless something telling can stand there.
            is_optional = {"type": "null"} in schema[keyword] and "$ref" not in first
            return None if is_optional and not _fits(_NAMED.get(name), first) else example(first, schemas, name, depth)
    if schema.get("type") == "object" or "properties" in schema:
        return _object(schema, schemas, name, depth)
    if _fits(_NAMED.get(name), schema):
        return _NAMED[name]
    if schema.get("default") is not None:
        return schema["default"]
    if schema.get("type") == "array":
        items = schema.get("items", {})
        count = max(schema.get("minItems", 0), 1)
        return [example(items, schemas, name.rstrip("s"), depth + 1)] * count if depth < _MAX_DEPTH else []
    return _plain(schema)


def _object(schema: Schema, schemas: Mapping[str, Schema], name: str, depth: int) -> Any:
    if "properties" not in schema:
        named = _NAMED.get(name)
        inner = schema.get("additionalProperties")
        if isinstance(named, dict) or not isinstance(inner, dict):
            return named if isinstance(named, dict) else {}
        return {"transcribe" if name == "stages" else "name": example(inner, schemas, depth=depth + 1)}
    if depth >= _MAX_DEPTH:
        return {}
    return {
        field: example(inner, schemas, field, depth + 1)
        for field, inner in schema["properties"].items()
        if not inner.get("writeOnly") and inner.get("format") != "binary"
    }


def _fits(value: Any, schema: Schema) -> bool:
    kinds: Mapping[str, Any] = {"string": str, "integer": int, "number": (int, float), "array": list}
    is_kind = isinstance(value, kinds.get(schema.get("type", ""), ()))
    return is_kind and ("pattern" not in schema or re.search(schema["pattern"], str(value)) is not None)


def _plain(schema: Schema) -> Any:
    kind = schema.get("type")
    if kind == "string":
        text = _MOMENT if schema.get("format") == "date-time" else "text"
        return "https://example.com/" if schema.get("format") == "uri" else text
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0)) + ("exclusiveMinimum" in schema)
        return int(least) if kind == "integer" else least
    return True if kind == "boolean" else None
