"""Where the next page of a list begins, as callers hand it back: opaque, and good for the same list alone."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.errors import PipelineError

T = TypeVar("T")

_DIGEST = 12


def make_cursor(position: str, *asked: object) -> str:
    """What is handed out with a page.

    Args:
        position: The id that the next page goes on behind.
        asked: Whose list it is, and what it was filtered by.
    """
    return base64.urlsafe_b64encode(f"{_digest(position, asked)}{position}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, *asked: object) -> str:
    """The id that a page goes on behind.

    Nothing depends on its being kept secret: whoever makes one up gets another place in a list of their own.

    Raises:
        PipelineError: ``request.invalid`` for what is no cursor of this list.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    digest, position = text[:_DIGEST], text[_DIGEST:]
    if not position or digest != _digest(position, asked):
        raise PipelineError("request.invalid", "cursor: it is of no list with these filters.", field="cursor")
    return position


def cut(found: Sequence[T], limit: int, id_of: Callable[[T], str], *asked: object) -> tuple[list[T], str | None]:
    """A page, of one thing more than fits on it, and the cursor of the next one; none where nothing is left.

    Args:
        found: Up to ``limit + 1`` things: the last tells whether there is another page.
        limit: How many the page holds.
        id_of: What the next page goes on behind.
        asked: As for :func:`make_cursor`.
    """
    page = list(found[:limit])
    return page, make_cursor(id_of(page[-1]), *asked) if len(found) > limit else None


def behind(cursor: str | None, *asked: object) -> str | None:
    """The id that a page goes on behind; ``None`` for the first.

    Raises:
        PipelineError: ``request.invalid`` for what is no cursor of this list.
    """
    return None if cursor is None else read_cursor(cursor, *asked)


def _digest(position: str, asked: tuple[object, ...]) -> str:
    content = json.dumps([position, *asked], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGEST]
