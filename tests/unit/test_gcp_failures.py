"""Every exception of Google's clients crosses our boundary as a code, and nothing else does."""

import http
import socket
import ssl

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from infra.gcp.failures import CODES, translated
from shared.errors import CATALOGUE, PipelineError

# Every class there is, by what it means here: one that a new version of a client adds must be thought about.
INTERNAL = {
    "AlreadyExists",
    "BadRequest",
    "ClientError",
    "Conflict",
    "DuplicateCredentialArgs",
    "FailedPrecondition",
    "GoogleAPICallError",
    "GoogleAPIError",
    "InvalidArgument",
    "LengthRequired",
    "MethodNotAllowed",
    "MethodNotImplemented",
    "MissingStatusHeaderError",
    "OutOfRange",
    "PreconditionFailed",
    "RequestRangeNotSatisfiable",
    "ResumableTransferError",
    "TransferStalledError",
    "UnseekableStreamError",
    "UploadCancelledError",
}
UNAVAILABLE = {
    "Aborted",
    "BadGateway",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "Forbidden",
    "GatewayTimeout",
    "InternalServerError",
    "MovedPermanently",
    "NotFound",
    "NotModified",
    "PermissionDenied",
    "Redirection",
    "ResourceExhausted",
    "ResumeIncomplete",
    "RetryError",
    "ServerError",
    "ServiceUnavailable",
    "TemporaryRedirect",
    "TooManyRequests",
    "Unauthenticated",
    "Unauthorized",
    "Unknown",
}
# Asynchronous clients over REST raise it; we have none.
NOT_OURS = {"AsyncRestUnsupportedParameterError"}


def family(kind: type[Exception]) -> set[type[Exception]]:
    """A class and all below it, of its own package: what else has been imported by now is not asked for here."""
    package = ".".join(kind.__module__.split(".")[:2])
    children = [child for child in kind.__subclasses__() if child.__module__.startswith(f"{package}.")]
    return {kind}.union(*(family(child) for child in children))


def declared(module: object) -> set[type[Exception]]:
    return {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)}


API = sorted((family(api.GoogleAPIError) | declared(api)), key=lambda kind: kind.__qualname__)
AUTH = sorted((family(auth.GoogleAuthError) | declared(auth)), key=lambda kind: kind.__qualname__)


def code_of(error: Exception, codes: dict[type[Exception], str] | None = None) -> str:
    with pytest.raises(PipelineError) as raised, translated("Firestore", codes or {}):
        raise error
    assert raised.value.__cause__ is error
    return raised.value.code


@pytest.mark.parametrize(
    "kind", [kind for kind in API if kind.__name__ not in NOT_OURS], ids=lambda kind: kind.__name__
)
def test_every_exception_of_the_apis_has_a_code(kind: type[Exception]) -> None:
    expected = {**dict.fromkeys(INTERNAL, "internal"), **dict.fromkeys(UNAVAILABLE, "service.unavailable")}
    assert code_of(kind.__new__(kind)) == expected[kind.__name__]


@pytest.mark.parametrize("kind", AUTH, ids=lambda kind: kind.__name__)
def test_every_exception_of_credentials_has_a_code(kind: type[Exception]) -> None:
    assert code_of(kind.__new__(kind)) == "service.unavailable"


def test_all_classes_were_found() -> None:
    assert len(API) > 40
    assert len(AUTH) > 10
    assert {api.ServiceUnavailable, api.RetryError} < set(API)
    assert {auth.RefreshError, auth.TimeoutError} < set(AUTH)


@pytest.mark.parametrize("status", [status for status in http.HTTPStatus if status >= 300])
def test_every_http_status_has_a_code(status: int) -> None:
    assert code_of(api.from_http_status(status, "text")) in ("internal", "service.unavailable")


@pytest.mark.parametrize("status", range(1, 17))
def test_every_status_of_grpc_has_a_code(status: int) -> None:
    assert code_of(api.from_grpc_status(status, "text")) in ("internal", "service.unavailable")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        socket.gaierror(),
        ssl.SSLError(),
        requests.exceptions.ConnectionError(),
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_network_is_a_service_that_does_not_answer(error: Exception) -> None:
    assert code_of(error) == "service.unavailable"


def test_a_call_may_know_better() -> None:
    codes = {api.NotFound: "object.not_found", KeyError: "object.invalid"}
    assert code_of(api.NotFound("text"), codes) == "object.not_found"
    assert code_of(KeyError(), codes) == "object.invalid"
    assert code_of(api.PermissionDenied("text"), codes) == "service.unavailable"
    assert code_of(api.PermissionDenied("text"), {api.Forbidden: "object.not_found"}) == "object.not_found"


def test_what_is_ours_passes_as_it_is() -> None:
    ours = PipelineError("job.conflict")
    for error in (ours, KeyError("a defect")):
        with pytest.raises(type(error)) as raised, translated("Firestore"):
            raise error
        assert raised.value is error


def test_nobody_is_told_what_a_service_said() -> None:
    for error in (api.ServiceUnavailable("secret"), api.BadRequest("secret")):
        with pytest.raises(PipelineError) as raised, translated("Firestore"):
            raise error
        assert "secret" not in str(raised.value.info)


def test_the_map_holds_codes_of_the_catalogue_and_no_row_in_vain() -> None:
    assert set(CODES.values()) <= CATALOGUE.keys()
    for kind, code in CODES.items():
        above = next((CODES[parent] for parent in kind.__mro__[1:] if parent in CODES), None)
        assert above != code, kind
