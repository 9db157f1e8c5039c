"""Reads a definition of Protocol Buffers, as much of the language as ours uses, for protobuf's own parser."""

import re
from collections.abc import Iterator, Mapping

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_FIELD = re.compile(r"(?P<label>repeated|optional) (?P<type>\w+) (?P<name>\w+) = (?P<number>[1-9]\d*);")
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
}


def read_proto(text: str) -> FileDescriptorProto:
    """A definition as the description that protobuf works with.

    Raises:
        ValueError: A line is not one of those that ours has.
    """
    file = FileDescriptorProto(name="definition.proto")
    inside: list[DescriptorProto] = []
    for line in filter(None, (line.partition("//")[0].strip() for line in text.splitlines())):
        if line == 'syntax = "proto3";':
            file.syntax = "proto3"
        elif found := re.fullmatch(r"package (\w+);", line):
            file.package = found[1]
        elif found := re.fullmatch(r"message (\w+) \{", line):
            inside.append((inside[-1].nested_type if inside else file.message_type).add(name=found[1]))
        elif line == "}":
            inside.pop()
        elif found := _FIELD.fullmatch(line):
            _add_field(inside[-1], found.groupdict())
        else:
            raise ValueError(f"not understood: {line}")
    return file


def message_class(text: str) -> type[Message]:
    """The class of the one message of a definition; protobuf refuses a definition that is wrong."""
    file = read_proto(text)
    (only,) = file.message_type
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{only.name}"))


def proto_incompatibilities(before: str, after: str) -> Iterator[str]:
    """What a later definition breaks of an earlier one: every field keeps its number, its name and its type."""
    later = _fields(after)
    for where, field in _fields(before).items():
        if where not in later:
            yield f"{where}: removed"
        elif later[where] != field:
            yield f"{where}: changed from {field} to {later[where]}"


def _fields(text: str) -> Mapping[str, tuple[str, str, int]]:
    """Name, type and label of each field by its message and number."""
    waiting = [("", message) for message in read_proto(text).message_type]
    found = {}
    for above, message in waiting:
        name = f"{above}{message.name}"
        waiting += [(f"{name}.", inner) for inner in message.nested_type]
        for field in message.field:
            kind = field.type_name or FieldDescriptorProto.Type.Name(field.type)
            found[f"{name} = {field.number}"] = (field.name, kind, field.label)
    return found


def _add_field(message: DescriptorProto, found: Mapping[str, str | None]) -> None:
    field = message.field.add(name=found["name"], number=int(found["number"] or 0))
    field.label = FieldDescriptorProto.LABEL_REPEATED
    if found["label"] == "optional":  # of which a descriptor says so by a choice between the field and nothing
        field.label, field.proto3_optional = FieldDescriptorProto.LABEL_OPTIONAL, True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")
    if found["type"] in _SCALARS:
        field.type = _SCALARS[found["type"]]
    else:
        field.type_name = found["type"] or ""
