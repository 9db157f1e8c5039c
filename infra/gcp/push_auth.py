"""Who may push: Google's identity tokens, checked."""

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from google.auth import jwt
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from infra.gcp.failures import translated
from shared.errors import PipelineError

GOOGLE_CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_CLOCK_SKEW_S = 10
_FETCH_TIMEOUT_S = 5.0
# Google shows a new certificate long before it signs with it; one that it takes away is trusted this much longer.
_CERTS_AGE_S = 600.0


class PushAuthentication:
    """Lets pass what Google pushes as one of our service accounts. Implements :class:`shared.ports.Callers`.

    Pub/Sub, Eventarc and Cloud Scheduler send an OpenID Connect token with each request, signed by Google, for the
    audience and account that the subscription names. Any Google account can get a token for any audience, so the
    account is what counts.

    Args:
        audience: That tokens must be for.
        service_accounts: Addresses of those who may call.
        certs_url: Certificates by key id, as JSON.
        now: Seconds that only grow.
    """

    def __init__(
        self,
        audience: str,
        service_accounts: Collection[str],
        certs_url: str = GOOGLE_CERTS_URL,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audience = audience
        self._service_accounts = tuple(service_accounts)  # a claim may be of any type, also one that has no hash
        self._certs_url = certs_url
        self._now = now
        self._certs: tuple[float, Mapping[str, str]] | None = None

    def check(self, authorization: str | None) -> None:
        """Refuse a request.

        Args:
            authorization: The header's value, if there is one.

        Raises:
            PipelineError: ``request.unauthorized``; ``service.unavailable`` when the certificates cannot be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise PipelineError("request.unauthorized")
        claims = self._verified(token.strip())
        if (
            claims.get("iss") not in _ISSUERS
            or claims.get("email_verified") is not True
            or claims.get("email") not in self._service_accounts
        ):
            raise PipelineError("request.unauthorized", "The token is not from a service account that may call this.")

    def _verified(self, token: str) -> Mapping[str, Any]:
        certs = self._certificates()
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token, certs=certs, audience=self._audience, clock_skew_in_seconds=_CLOCK_SKEW_S
            )
        except (GoogleAuthError, TypeError, ValueError, RecursionError) as error:
            # Beyond its own, the library lets out what a token that was made up makes its parsers raise.
            raise PipelineError("request.unauthorized") from error
        return claims

    def _certificates(self) -> Mapping[str, str]:
        """Google's certificates, at most ``_CERTS_AGE_S`` old. Threads that find them too old may each fetch them."""
        held = self._certs
        if held is not None and self._now() - held[0] < _CERTS_AGE_S:
            return held[1]
        with translated("Google's certificates", {ValueError: "service.unavailable"}):
            answer = Request()(self._certs_url, timeout=_FETCH_TIMEOUT_S)
            certs = json.loads(answer.data) if answer.status == 200 else None
        if not isinstance(certs, dict) or not certs:
            raise PipelineError("service.unavailable", "Google's certificates could not be fetched.")
        self._certs = (self._now(), certs)
        return certs
