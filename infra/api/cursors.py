"""Where the next page of a list begins, as callers hand it back: opaque, and good for the same list alone."""

import base64
import binascii
import hashlib
import json

from shared.errors import PipelineError

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
        raise PipelineError("request.invalid", "cursor: it is of no list with these filters.")
    return position


def _digest(position: str, asked: tuple[object, ...]) -> str:
    content = json.dumps([position, *asked], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGEST]
