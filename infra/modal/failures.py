"""What an exception of Modal's client is to the rest of the system: one map."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

import aiohttp
import grpclib.exceptions
import modal.exception as modal

from shared.errors import PipelineError


class Meaning(NamedTuple):
    """What an exception means.

    Attributes:
        code: A code of the catalogue.
        sentence: For whoever runs this deployment; never the exception's own text, which is the server's.
    """

    code: str
    sentence: str


def _unavailable(sentence: str) -> Meaning:
    return Meaning("service.unavailable", sentence)


_UNREACHABLE = _unavailable("Modal could not be reached.")
_LATE = _unavailable("Modal could not be reached, or did not answer, in time.")
_FAILED = _unavailable("Modal failed to answer.")
_MISUSED = Meaning("internal", "Modal's client was not used as it is to be.")

# The most specific class wins. What a deployment lacks (credentials, an app, a higher limit) counts as a service that
# does not answer: someone mends it, and the work that waited goes on.
MEANINGS: Mapping[type[Exception], Meaning] = MappingProxyType(
    {
        modal.Error: _MISUSED,
        modal.AuthError: _unavailable(
            "Modal refused the credentials, or there are none: run 'modal token new', or set MODAL_TOKEN_ID and "
            "MODAL_TOKEN_SECRET."
        ),
        modal.PermissionDeniedError: _unavailable("Modal's credentials do not allow this."),
        modal.NotFoundError: _unavailable("This is not deployed on Modal."),
        modal.ConnectionError: _UNREACHABLE,
        modal.ClientClosed: _UNREACHABLE,
        modal.ServiceError: _FAILED,
        modal.InternalError: _FAILED,
        modal.InternalFailure: _FAILED,
        modal.ConflictError: _FAILED,
        modal.ExecutionError: _FAILED,
        modal.TimeoutError: _LATE,
        modal.ResourceExhaustedError: _unavailable("A limit of the Modal workspace is reached."),
        modal.WorkspaceManagementError: _unavailable("The Modal workspace is not in order."),
        modal.VersionError: _unavailable("Modal does not support this version of its client any more."),
        modal.UserCodeException: _MISUSED,
        modal.ModuleNotMountable: _MISUSED,
        # What the client lets through.
        grpclib.exceptions.GRPCError: _FAILED,
        grpclib.exceptions.StreamTerminatedError: _UNREACHABLE,
        aiohttp.ClientError: _UNREACHABLE,
        OSError: _UNREACHABLE,
        TimeoutError: _LATE,
    }
)


def meaning(kind: type[Exception]) -> Meaning:
    """What an exception of this class means.

    Raises:
        KeyError: It is none of Modal's client.
    """
    return next(MEANINGS[base] for base in kind.__mro__ if base in MEANINGS)


@contextmanager
def translated(*, missing: str = "") -> Iterator[None]:
    """Raise every exception of Modal's client as a ``PipelineError``.

    Args:
        missing: What to say where something is not there.
    """
    try:
        yield
    except PipelineError:
        raise
    except tuple(MEANINGS) as error:
        code, sentence = meaning(type(error))
        if isinstance(error, modal.NotFoundError) and missing:
            sentence = missing
        raise PipelineError(code, sentence) from error
