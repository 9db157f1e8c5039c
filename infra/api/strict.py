"""What callers send is taken as it is meant: no number for a text, no parameter that nobody reads."""

import json
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from shared.errors import PipelineError

# Names a filter over what callers named themselves: ``metadata.KEY``.
OPEN_PREFIXES = ("metadata.",)


class Body(BaseModel):
    """The base of what is sent as JSON: unknown fields are refused, and values of another type than the reference's."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The framework validates what it has parsed already: that is made JSON again.

        Only of JSON pydantic knows in its strict mode that an array may be a tuple, and a text a time.
        """
        reference = handler(source)
        model: Any = handler.resolve_ref_schema(reference)
        while model["type"] != "model":  # validators of the whole stand around it
            model = model["schema"]
        fields = model["schema"]
        if fields["type"] == "json-or-python":  # pydantic keeps the schema, and this one was made so before
            return reference

        def as_json(data: Any, inner: ValidatorFunctionWrapHandler) -> Any:
            if not isinstance(data, dict):
                return inner(data)
            try:
                read = cls.model_validate_json(json.dumps(_whole(data)), strict=True)
            except ValidationError as error:
                raise RequestValidationError(error.errors()) from error
            return read.__dict__, None, read.model_fields_set

        python = core_schema.no_info_wrap_validator_function(as_json, fields)
        model["schema"] = core_schema.json_or_python_schema(json_schema=fields, python_schema=python)
        return reference


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 3.0 is a whole one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


async def no_stray_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: a mistyped filter would show everything.

    Raises:
        PipelineError: ``request.invalid``.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = {name for field in _query_fields(route.dependant) for name in _names(field)}
    known |= {row["name"] for row in (route.openapi_extra or {}).get("parameters", ()) if row["in"] == "query"}
    stray = [name for name in request.query_params if name not in known and not _is_open(name, known)]
    if stray:
        raise PipelineError(
            "request.invalid", f"{stray[0][:100]}: there is no such parameter here.", field=stray[0][:100]
        )


def _query_fields(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.query_params
    for inner in dependant.dependencies:
        yield from _query_fields(inner)


def _names(field: Any) -> list[str]:
    """The names of a parameter; several where a model holds them."""
    kind = field.field_info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [inner.alias or name for name, inner in kind.model_fields.items()]
    return [field.alias]


def _is_open(name: str, known: set[str]) -> bool:
    return any(name.startswith(prefix) and prefix.rstrip(".") in known for prefix in OPEN_PREFIXES)
