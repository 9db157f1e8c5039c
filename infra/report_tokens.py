"""Tokens with which a GPU job proves that it runs one attempt of one stage of one job, and no other."""

import hashlib

from itsdangerous import BadSignature, Signer

from shared.errors import PipelineError


class ReportTokens:
    """Signs and checks report tokens (HMAC-SHA256 by itsdangerous).

    Args:
        keys: Secrets of the deployment: the first signs, all are accepted, so that a key can be replaced while jobs
            run.
    """

    def __init__(self, *keys: bytes) -> None:
        self._signer = Signer(list(reversed(keys)), salt="earwitness.report", digest_method=hashlib.sha256)

    def sign(self, job_id: str, stage: str, attempt: int) -> str:
        """The token of one attempt."""
        return self._signer.get_signature(f"{job_id}/{stage}/{attempt}").decode()

    def check(self, token: str, job_id: str, stage: str, attempt: int) -> None:
        """Refuse a token that is not this attempt's.

        Raises:
            PipelineError: ``request.unauthorized``.
        """
        try:
            self._signer.unsign(f"{job_id}/{stage}/{attempt}.{token}")
        except BadSignature as error:
            raise PipelineError("request.unauthorized") from error
