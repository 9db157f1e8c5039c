"""Answers that a client may keep and ask for again by their tag (RFC 9110, conditional requests)."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header, Response

IfNoneMatch = Annotated[
    str | None, Header(max_length=1000, description="Answers 304 without a body while this is the ETag.")
]


def tagged(description: str, unchanged: str) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: an answer with a tag, and that it is still the one the client has."""
    etag = {"etag": {"description": description, "schema": {"type": "string"}}}
    return {200: {"headers": etag}, 304: {"description": unchanged}}


def tag_headers(number: int) -> Mapping[str, str]:
    """Headers of an answer that is the same as long as a number is."""
    # Not to be taken from a cache, but to be asked for again by its tag: by a key that may still have it.
    return {"etag": f'"{number}"', "cache-control": "private, no-cache"}


def is_known(number: int, if_none_match: str | None) -> bool:
    """Whether the client has the answer of a number already."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or f'"{number}"' in tags


def unchanged(number: int) -> Response:
    """What is answered to a client that has it already."""
    return Response(status_code=304, headers=tag_headers(number))
