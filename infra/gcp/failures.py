"""What an exception of Google's clients is to the rest of the system: one map, for all of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from shared.errors import PipelineError

# The most specific class wins. What a deployment lacks (a database, a topic, a permission) counts as a
# service that does not answer: someone mends it, and the work that waited goes on.
CODES: Mapping[type[Exception], str] = MappingProxyType(
    {
        api.GoogleAPIError: "internal",
        api.RetryError: "service.unavailable",
        api.Redirection: "service.unavailable",
        api.Unauthorized: "service.unavailable",
        api.Forbidden: "service.unavailable",
        api.NotFound: "service.unavailable",
        api.Aborted: "service.unavailable",
        api.TooManyRequests: "service.unavailable",
        api.Cancelled: "service.unavailable",
        api.ServerError: "service.unavailable",
        api.MethodNotImplemented: "internal",
        auth.GoogleAuthError: "service.unavailable",
        # Of the network: refused or cut connections, names that are not found, TLS, timeouts, and all of requests'.
        OSError: "service.unavailable",
    }
)


@contextmanager
def translated(service: str, codes: Mapping[type[Exception], str] = MappingProxyType({})) -> Iterator[None]:
    """Raise every exception of a client as a ``PipelineError``.

    Args:
        service: Its name, for the sentence.
        codes: What some exceptions mean for this one call: rows that come in place of the map's, or beside them.
    """
    table = {**CODES, **codes}
    try:
        yield
    except PipelineError:
        raise
    except tuple(table) as error:
        code = next(table[kind] for kind in type(error).__mro__ if kind in table)
        if code == "service.unavailable":
            raise PipelineError(code, f"{service} did not answer: {type(error).__name__}.") from error
        raise PipelineError(code) from error
