"""What the present work is about: ids that every log line of it carries."""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

# Names of the ids: request_id, job_id, tenant_id, traceparent.
_ids: ContextVar[Mapping[str, str] | None] = ContextVar("earwitness_ids", default=None)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def ids() -> Mapping[str, str]:
    """Of the present work; empty where nobody said anything."""
    return _ids.get() or {}


@contextmanager
def concerning(**more: str) -> Iterator[None]:
    """The block is about these, beside what is known already. Threads that it hands work to know it, too."""
    token = _ids.set({**ids(), **{name: value for name, value in more.items() if value}})
    try:
        yield
    finally:
        _ids.reset(token)


def note(**more: str) -> None:
    """The rest of the present work is about these, too."""
    _ids.set({**ids(), **more})


def current_traceparent() -> str:
    """Where the present work stands in its trace, after W3C Trace Context; empty outside of one."""
    return ids().get("traceparent", "")


def is_traceparent(text: str) -> bool:
    """Whether this is a position in a trace, as anyone may send it."""
    return _TRACEPARENT.fullmatch(text) is not None


def new_traceparent() -> str:
    """The beginning of a trace that nobody records, for log lines and events to be found by."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def traceparent_for_new() -> str:
    """What a new job's trace begins with: the present work, or a trace of its own."""
    return current_traceparent() or new_traceparent()
