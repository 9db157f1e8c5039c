"""Requests that come again: what is kept of the first, so that the second does nothing."""

import hashlib
from datetime import datetime
from typing import ClassVar

from pydantic import Field

from shared.documents import Document
from shared.errors import PipelineError


class KeptAnswer(Document):
    """What a request with an idempotency key was answered, or that its answer is being made.

    Attributes:
        document_id: Of the tenant and the key; the key itself is not kept.
        fingerprint: SHA-256 of what was asked.
        begun_at: When it first came. Ids of what it makes are derived from this and the document's id, so that
            whoever makes its answer after a crash finds what is there already.
        claimed_until: While someone makes the answer; afterwards another may.
        tries: How often that was begun.
        status: HTTP status of the answer; ``None`` while there is none.
        headers: Of the answer, but those of every answer.
        body: The answer's body, as text; sealed where it holds a secret.
    """

    collection: ClassVar[str] = "kept_answers"
    fingerprint: str
    begun_at: datetime
    claimed_until: datetime
    tries: int = 1
    status: int | None = None
    media_type: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = ""

    def derived(self, number: int = 0) -> str:
        """Sixteen hexadecimal digits that are the same at each try, for the ``number``-th thing that it makes."""
        return hashlib.sha256(f"{self.document_id}/{self.begun_at.timestamp()}/{number}".encode()).hexdigest()[:16]


def answer_id(tenant_id: str, key: str) -> str:
    """Where the answer to a tenant's requests with a key is kept."""
    return f"ans_{hashlib.sha256(f'{tenant_id}/{key}'.encode()).hexdigest()}"


def claimed(there: KeptAnswer, wanted: KeptAnswer) -> KeptAnswer:
    """What is there, claimed by a new try if there is no answer and nobody makes one.

    Raises:
        PipelineError: ``idempotency.mismatch``, ``idempotency.in_progress``.
    """
    now = wanted.begun_at
    if there.expires_at is not None and there.expires_at <= now:
        return wanted
    if there.fingerprint != wanted.fingerprint:
        raise PipelineError("idempotency.mismatch")
    if there.status is not None:
        return there
    if now < there.claimed_until:
        raise PipelineError("idempotency.in_progress", retry_after_s=1)
    return there.model_copy(update={"claimed_until": wanted.claimed_until, "tries": there.tries + 1})
