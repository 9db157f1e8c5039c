"""Who signs URLs: a key that is at hand, or the service account's own key, which stays with Google."""

from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import iam
from google.auth.credentials import Credentials, Signing
from google.auth.crypt import RSASigner
from google.auth.transport import Response
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from infra.gcp.failures import translated
from shared.errors import PipelineError

# How Google's library sends a request: ``request(url=…, method=…, body=…, headers=…)``.
SendRequest = Callable[..., Response]

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_TIMEOUT_S = 5.0
_UNKNOWN_YET = "default"


def signing_credentials(credentials: Credentials, request: SendRequest | None = None) -> Signing:
    """Credentials that sign, from those that a process runs with.

    Those with a key, or that impersonate an account, sign by themselves. On Cloud Run a process has a service account
    but no key: IAM signs for it, which the account must be allowed to have done (``iam.serviceAccounts.signBlob`` on
    itself).

    Args:
        credentials: With :data:`SCOPES`.
        request: Sends requests to IAM; a new session's if left out.

    Raises:
        PipelineError: ``service.unavailable`` for credentials of a person, with which no URL can be signed.
    """
    if isinstance(credentials, Signing):
        return credentials
    if not getattr(credentials, "service_account_email", None):
        raise PipelineError(
            "service.unavailable", "These Google credentials belong to no service account, so they cannot sign URLs."
        )
    return IamSigning(credentials, request or partial(Request(), timeout=_TIMEOUT_S))


def emulator_credentials() -> Signing:
    """A key that nobody knows, for a storage emulator: it wants signed URLs and trusts every signature."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return service_account.Credentials(RSASigner(key), "earwitness@emulator.invalid", "")


class IamSigning(Signing):
    """Signs by IAM's ``signBlob``, as the service account that a process runs as.

    Args:
        credentials: The account's, with :data:`SCOPES`.
        request: Sends requests to IAM and to the metadata server.
    """

    def __init__(self, credentials: Credentials, request: SendRequest) -> None:
        self._credentials = credentials
        self._request = request

    @property
    def signer_email(self) -> str:
        """The account's address.

        Raises:
            PipelineError: ``service.unavailable``.
        """
        if self._email == _UNKNOWN_YET:
            with translated("The metadata server"):
                self._credentials.refresh(self._request)
        return self._email

    @property
    def signer(self) -> iam.Signer:
        """What calls IAM."""
        return iam.Signer(self._request, self._credentials, self.signer_email)

    def sign_bytes(self, message: bytes) -> bytes:
        """The RSA signature (PKCS #1 v1.5, SHA-256) of a message.

        Raises:
            PipelineError: ``service.unavailable``.
        """
        # The library takes the answer apart without looking; one that is not what it should be raises these.
        with translated("IAM", dict.fromkeys((KeyError, TypeError, ValueError), "service.unavailable")):
            signature: bytes = self.signer.sign(message)
            return signature

    @property
    def _email(self) -> str:
        return str(getattr(self._credentials, "service_account_email", _UNKNOWN_YET))
