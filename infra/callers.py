"""Who may call the functions that are not for everyone."""

import secrets

from shared.errors import PipelineError


class BearerToken:
    """Lets whoever has one secret token pass: the local cloud's own deliveries. Implements ``shared.ports.Callers``."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def check(self, authorization: str | None) -> None:
        """Compare, in constant time."""
        if not secrets.compare_digest((authorization or "").encode(), self._expected):
            raise PipelineError("request.unauthorized")


class PlatformChecks:
    """Lets every call pass, because the platform in front has let it through. Implements ``shared.ports.Callers``."""

    def check(self, authorization: str | None) -> None:
        """Nothing is left to check here."""
