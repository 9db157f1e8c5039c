"""The events as a Protocol Buffers definition, as Pub/Sub takes it for the schema of a topic: one message in one file
without imports, that the JSON of every event fits.

Numbers of fields are for ever, so they are written down here: a field's number is its place in :data:`FIELDS`.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from shared.events import Event
from shared.schemas import PUBLISHED

# Only ever added to, each row at its end. ``Data`` has the properties of every published fact.
FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Event": (
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "tenantid",
            "jobid",
            "traceparent",
            "data",
        ),
        "Data": (
            "type",
            "has_source",
            "media",
            "reused_from",
            "notices",
            "error",
            "stage",
            "attempt",
            "artifacts",
            "metrics",
            "will_retry",
            "version",
        ),
        "Media": ("object", "filename", "probe"),
        "ObjectInfo": ("bucket", "name", "generation", "size_bytes", "content_type", "md5"),
        "Probe": ("container", "audio_codec", "duration_s", "sample_rate_hz", "channels", "has_video"),
        "Notice": ("code", "message"),
        "ErrorInfo": ("code", "message", "retryable"),
        "Artifact": ("kind", "filename", "object"),
        "Metrics": ("audio_s", "compute_s", "load_s", "model", "device", "cost_usd"),
        "TranscriptVersion": ("number", "at", "actor", "change", "summary", "artifacts"),
    }
)

_HEAD = """// The events of Earwitness as JSON: a CloudEvents 1.0 envelope. Generated; never edit it by hand.
syntax = "proto3";

package earwitness;

"""
_SCALARS: Mapping[Any, str] = MappingProxyType(
    {bool: "bool", int: "int64", float: "double", str: "string", datetime: "string"}
)


@dataclass(frozen=True)
class _Type:
    """What a property is in a definition.

    Attributes:
        name: A scalar, or the name of a model.
        model: That model.
        repeated: Whether there are any number of them.
    """

    name: str
    model: type[BaseModel] | None = None
    repeated: bool = False


def events_proto() -> str:
    """The definition as text.

    Raises:
        ValueError: The models and the numbers of their fields disagree, or one name means two things in two facts.
    """
    messages: dict[str, dict[str, _Type]] = {}
    described = {"Event": _summary(Event), "Data": "What happened: the properties of all types of event."}
    data: dict[str, _Type] = {}
    for fact in PUBLISHED.values():
        for name, found in _properties(fact).items():
            if data.setdefault(name, found) != found:
                raise ValueError(f"{fact.__name__}.{name} is something else in another event")
    messages["Event"] = {**_properties(Event, but=("data",)), "data": _Type("Data")}
    messages["Data"] = data
    waiting = [found.model for found in data.values() if found.model]
    while waiting:
        model = waiting.pop()
        if model.__name__ not in messages:
            messages[model.__name__] = _properties(model)
            described[model.__name__] = _summary(model)
            waiting += [found.model for found in messages[model.__name__].values() if found.model]
    _check_numbers(messages)
    inner = [_message(name, messages[name], described[name], "  ") for name in FIELDS if name != "Event"]
    return _HEAD + _message("Event", messages["Event"], described["Event"], "", inner)


def _properties(model: type[BaseModel], but: Iterable[str] = ()) -> dict[str, _Type]:
    return {name: _type(field.annotation) for name, field in model.model_fields.items() if name not in but}


def _type(annotation: Any) -> _Type:
    """The type of a property; where it is null, a message has nothing there."""
    alternatives = [one for one in get_args(annotation) if one is not NoneType]
    if get_origin(annotation) is Literal:
        return _type(type(alternatives[0]))
    if get_origin(annotation) is tuple and alternatives[1:] == [...]:
        return replace(_type(alternatives[0]), repeated=True)
    if NoneType in get_args(annotation) and len(alternatives) == 1:
        return _type(alternatives[0])
    if annotation in _SCALARS:
        return _Type(_SCALARS[annotation])
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return _Type("string")  # not an enum: values are added, and a reader takes those that it does not know
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Type(annotation.__name__, annotation)
    raise ValueError(f"no type of Protocol Buffers is known for {annotation}")


def _check_numbers(messages: Mapping[str, Mapping[str, _Type]]) -> None:
    if missing := messages.keys() - FIELDS.keys():
        raise ValueError(f"FIELDS has no row for {', '.join(sorted(missing))}")
    for name, numbered in FIELDS.items():
        if missing := messages.get(name, {}).keys() - set(numbered):
            raise ValueError(f"add to the end of FIELDS[{name!r}]: {', '.join(sorted(missing))}")
        if gone := set(numbered) - messages.get(name, {}).keys():
            raise ValueError(f"{name} has no {', '.join(sorted(gone))} any more")


def _message(name: str, fields: Mapping[str, _Type], summary: str, indent: str, inner: Iterable[str] = ()) -> str:
    lines = [f"{indent}// {summary}", f"{indent}message {name} {{"]
    for number, field in enumerate(FIELDS[name], start=1):
        # Of a schema in use Pub/Sub lets no other fields be added than optional ones.
        label = "repeated" if fields[field].repeated else "optional"
        lines.append(f"{indent}  {label} {fields[field].name} {field} = {number};")
    return "\n".join(lines) + "\n" + "".join(f"\n{text}" for text in inner) + f"{indent}}}\n"


def _summary(model: type[BaseModel]) -> str:
    """The first line of its docstring."""
    return inspect.cleandoc(model.__doc__ or "").partition("\n")[0].replace("``", "`")
