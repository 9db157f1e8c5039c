"""Whether contracts still keep what an earlier release of them promised.

Everything that is written may be read by others who know only the earlier release, and much of it is read by this
system itself, long after an earlier release wrote it. Reports are only read.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.contracts import read_contracts
from tests.contract.openapi_changes import openapi_incompatibilities
from tests.contract.proto_definition import proto_incompatibilities

Schema = Mapping[str, Any]

ONLY_READ = frozenset({"report.schema.json"})
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_EXACT = ("type", "const", "format", "pattern")


def read_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """Contracts by path: JSON as what it says, others as text."""
    return {path: json.loads(text) if path.endswith(".json") else text for path, text in texts.items()}


def read_folder(folder: Path) -> dict[str, Any]:
    """Contracts by path below a folder."""
    return read_texts(read_contracts(folder))


def incompatibilities(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What ``after`` breaks of ``before``; nothing when it only adds."""
    problems = []
    for path, document in before.items():
        if path not in after:
            problems.append(f"{path}: removed")
        elif path == "error_codes.json":
            problems += _codes(document, after[path])
        elif path == "openapi.json":
            problems += [f"{path}: {problem}" for problem in openapi_incompatibilities(document, after[path])]
        elif path.endswith(".proto"):
            problems += [f"{path}: {problem}" for problem in proto_incompatibilities(document, after[path])]
        elif path == "asyncapi.json":
            problems += _messages(document, after[path])
        else:
            comparison = _Comparison(document, after[path], written=path not in ONLY_READ)
            problems += [f"{path}: {problem}" for problem in comparison.problems()]
    return problems


def _codes(before: Schema, after: Schema) -> Iterator[str]:
    for code, row in before.items():
        if code not in after:
            yield f"error code {code}: removed"
        else:
            for column in ("http_status", "retryable"):
                if row[column] != after[code][column]:
                    yield f"error code {code}: {column} changed"


def _messages(before: Schema, after: Schema) -> Iterator[str]:
    for name, channel in before["channels"].items():
        later = after["channels"].get(name)
        if later is None or later["address"] != channel["address"]:
            yield f"channel {name}: removed or moved"
    for name, message in before["components"]["messages"].items():
        later = after["components"]["messages"].get(name)
        if later is None or later["name"] != message["name"]:
            yield f"message {name}: removed or renamed"
        else:
            for problem in _Comparison(message["headers"], later["headers"], written=True).problems():
                yield f"message {name}: {problem}"


@dataclass(frozen=True)
class _Comparison:
    before: Schema
    after: Schema
    written: bool

    def problems(self) -> list[str]:
        return list(self._compare(self.before, self.after, "$", frozenset()))

    def _compare(self, before: Schema, after: Schema, where: str, seen: frozenset[str]) -> Iterator[str]:
        reference = before.get("$ref")
        if reference in seen:
            return
        seen = seen | {reference} if reference else seen
        before, after = _resolved(before, self.before), _resolved(after, self.after)
        if "anyOf" in before or "oneOf" in before or "anyOf" in after or "oneOf" in after:
            yield from self._alternatives(before, after, where, seen)
            return
        yield from self._limits(before, after, where)
        yield from self._properties(before, after, where, seen)
        for inner in ("items", "additionalProperties"):
            if isinstance(before.get(inner), Mapping) and isinstance(after.get(inner), Mapping):
                yield from self._compare(before[inner], after[inner], f"{where}[]", seen)
            elif bool(before.get(inner)) != bool(after.get(inner)):
                yield f"{where}: {inner} changed"

    def _limits(self, before: Schema, after: Schema, where: str) -> Iterator[str]:
        for keyword in _EXACT:
            if before.get(keyword) != after.get(keyword):
                yield f"{where}: {keyword} changed from {before.get(keyword)} to {after.get(keyword)}"
        for value in before.get("enum", ()):
            if value not in after.get("enum", ()):
                yield f"{where}: {value} removed"
        for keyword in _AT_MOST:
            if keyword in after and after[keyword] < before.get(keyword, float("inf")):
                yield f"{where}: {keyword} lowered"
        for keyword in _AT_LEAST:
            if keyword in after and after[keyword] > before.get(keyword, float("-inf")):
                yield f"{where}: {keyword} raised"

    def _properties(self, before: Schema, after: Schema, where: str, seen: frozenset[str]) -> Iterator[str]:
        earlier, later = before.get("properties", {}), after.get("properties", {})
        was_required, is_required = set(before.get("required", ())), set(after.get("required", ()))
        for name, schema in earlier.items():
            if name not in later:
                yield f"{where}.{name}: removed"
                continue
            if self.written and name in was_required - is_required:
                yield f"{where}.{name}: not always there any more"
            if not self.written and name in is_required - was_required:
                yield f"{where}.{name}: must be given now"
            yield from self._compare(schema, later[name], f"{where}.{name}", seen)
        for name in later.keys() - earlier.keys():
            # What an earlier release wrote is read without it, so it needs a default.
            if name in is_required and "default" not in _resolved(later[name], self.after):
                yield f"{where}.{name}: new and required"

    def _alternatives(self, before: Schema, after: Schema, where: str, seen: frozenset[str]) -> Iterator[str]:
        earlier, later = _variants(before), _variants(after)
        for variant in earlier:
            if not any(self._is_kept(variant, candidate, where, seen) for candidate in later):
                yield f"{where}: an alternative was removed or changed: {_named(variant)}"
        for variant in later if self.written else ():
            # A reader of the earlier release does not expect it.
            if not any(self._is_kept(candidate, variant, where, seen) for candidate in earlier):
                yield f"{where}: a new alternative: {_named(variant)}"

    def _is_kept(self, before: Schema, after: Schema, where: str, seen: frozenset[str]) -> bool:
        return not list(self._compare(before, after, where, seen))


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    siblings = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {**found, **siblings}


def _variants(schema: Schema) -> list[Schema]:
    variants: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return variants


def _named(schema: Schema) -> str:
    return str(schema.get("$ref") or schema.get("type") or sorted(schema))
