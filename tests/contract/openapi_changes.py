"""What a change of the OpenAPI document breaks for a client that was written for an earlier one.

What a client sends must still be taken; what it gets must still be what it knows, though there may be more of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")


def openapi_incompatibilities(before: Schema, after: Schema) -> list[str]:
    """What ``after`` breaks of ``before``; nothing when it only adds."""
    found: list[str] = []
    for path, methods in before["paths"].items():
        if path not in after["paths"]:
            found.append(f"{path}: path removed")
            continue
        for method in _METHODS:
            if method in methods:
                where = f"{method.upper()} {path}"
                if method in after["paths"][path]:
                    later = after["paths"][path][method]
                    found += [f"{where}: {what}" for what in _operation(before, after, methods[method], later)]
                else:
                    found.append(f"{where}: method removed")
    return found


def _operation(before: Schema, after: Schema, earlier: Schema, later: Schema) -> Iterator[str]:
    if earlier["operationId"] != later["operationId"]:
        yield f"operation renamed to {later['operationId']}"
    if later.get("security") and not earlier.get("security"):
        yield "security added"
    yield from _parameters(before, after, earlier, later)
    sent = _Comparison(before, after, is_sent=True)
    body, later_body = earlier.get("requestBody"), later.get("requestBody")
    if later_body and later_body.get("required") and not (body or {}).get("required"):
        yield "body required now"
    for media_type, content in (body or {}).get("content", {}).items():
        if media_type not in (later_body or {}).get("content", {}):
            yield f"body {media_type} not taken any more"
        else:
            yield from sent.compare(content["schema"], later_body["content"][media_type]["schema"], "body")  # type: ignore[index]
    got = _Comparison(before, after, is_sent=False)
    for status, response in earlier["responses"].items():
        if not status.startswith("2"):
            continue
        answer = later["responses"].get(status)
        if answer is None:
            yield f"answer {status} removed"
            continue
        for name in response.get("headers", {}):
            if name not in answer.get("headers", {}):
                yield f"answer {status}: header {name} removed"
        for media_type, content in response.get("content", {}).items():
            if media_type not in answer.get("content", {}):
                yield f"answer {status}: {media_type} removed"
            elif "schema" in content:
                yield from got.compare(content["schema"], answer["content"][media_type].get("schema", {}), "answer")


def _parameters(before: Schema, after: Schema, earlier: Schema, later: Schema) -> Iterator[str]:
    sent = _Comparison(before, after, is_sent=True)
    known = {(row["in"], row["name"]): row for row in earlier.get("parameters", ())}
    now = {(row["in"], row["name"]): row for row in later.get("parameters", ())}
    for key, row in known.items():
        if key not in now:
            yield f"parameter {key[1]} removed"
        else:
            yield from sent.compare(row.get("schema", {}), now[key].get("schema", {}), f"parameter {key[1]}")
    for key, row in now.items():
        if row.get("required") and not known.get(key, {}).get("required"):
            yield f"parameter {key[1]} required now"


@dataclass(frozen=True)
class _Comparison:
    """Compares schemas of one direction: what is sent may only be widened, what is answered only be extended."""

    before: Schema
    after: Schema
    is_sent: bool

    def compare(
        self, earlier: Schema, later: Schema, where: str, seen: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[str]:
        """What is broken between two schemas."""
        pair = (earlier.get("$ref", ""), later.get("$ref", ""))
        if all(pair) and pair in seen:
            return
        seen = seen | {pair}
        earlier, later = _resolved(earlier, self.before), _resolved(later, self.after)
        kinds, kinds_now = _alternatives(earlier), _alternatives(later)
        if len(kinds) > 1 or len(kinds_now) > 1:
            yield from self._of_alternatives(kinds, kinds_now, where, seen)
            return
        if earlier.get("type") != later.get("type"):
            # A client sends whole numbers where numbers are taken, and reads numbers where whole ones come.
            widened = (earlier.get("type"), later.get("type"))
            if widened != (("integer", "number") if self.is_sent else ("number", "integer")):
                yield f"{where}: type changed"
            return
        yield from self._values(earlier, later, where)
        yield from self._limits(earlier, later, where)
        yield from self._fields(earlier, later, where, seen)
        if earlier.get("items") and later.get("items"):
            yield from self.compare(earlier["items"], later["items"], f"{where}[]", seen)

    def _of_alternatives(
        self, kinds: list[Schema], kinds_now: list[Schema], where: str, seen: frozenset[tuple[str, str]]
    ) -> Iterator[str]:
        fixed, free = (kinds, kinds_now) if self.is_sent else (kinds_now, kinds)
        for kind in fixed:
            pairs = ((kind, other) if self.is_sent else (other, kind) for other in free)
            if not any(not list(self.compare(*pair, where, seen)) for pair in pairs):
                yield f"{where}: {'an alternative removed' if self.is_sent else 'an alternative added'}"

    def _values(self, earlier: Schema, later: Schema, where: str) -> Iterator[str]:
        # Answers may get values that are new: clients are told to expect it.
        known, now = _enumerated(earlier), _enumerated(later)
        if self.is_sent and now is not None and (known is None or set(known) - set(now)):
            yield f"{where}: values narrowed"
        if self.is_sent and later.get("pattern") not in (None, earlier.get("pattern")):
            yield f"{where}: pattern changed"
        if earlier.get("format") != later.get("format"):
            yield f"{where}: format changed"

    def _limits(self, earlier: Schema, later: Schema, where: str) -> Iterator[str]:
        if not self.is_sent:
            return
        for keyword in _AT_MOST:
            if keyword in later and later[keyword] < earlier.get(keyword, float("inf")):
                yield f"{where}: {keyword} lowered"
        for keyword in _AT_LEAST:
            if keyword in later and later[keyword] > earlier.get(keyword, float("-inf")):
                yield f"{where}: {keyword} raised"

    def _fields(self, earlier: Schema, later: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        known, now = earlier.get("properties", {}), later.get("properties", {})
        was_required, is_required = set(earlier.get("required", ())), set(later.get("required", ()))
        for name, field in known.items():
            if name not in now:
                yield f"{where}.{name}: removed"
            else:
                yield from self.compare(field, now[name], f"{where}.{name}", seen)
        if self.is_sent:
            yield from (f"{where}.{name}: required now" for name in sorted(is_required - was_required))
        else:
            yield from (f"{where}.{name}: optional now" for name in sorted((was_required - is_required) & now.keys()))


def _resolved(schema: Schema, document: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _alternatives(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return found


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")
