"""Answering a request that comes again as it was answered the first time."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from infra.pipeline.outbox import Stores
from shared.errors import PipelineError
from shared.repeats import KeptAnswer, answer_id, claimed

KEPT = timedelta(hours=24)
# What a store takes as one document, with room for the rest of it.
MAX_BODY_BYTES = 700_000
_NONE: Mapping[str, str] = {}


def claim(stores: Stores, tenant_id: str, key: str, fingerprint: str, *, lease_s: float) -> KeptAnswer:
    """The answer to an earlier request with this key; or one without a status, which the caller now has to make.

    Written first and read only where something is there already, so that of many requests at once one makes the answer.

    Args:
        stores: Where answers are kept.
        tenant_id: Whose request it is.
        key: The caller's idempotency key.
        fingerprint: SHA-256 of what is asked.
        lease_s: How long making the answer may take before another may try.

    Raises:
        PipelineError: ``idempotency.mismatch`` for another request's key; ``idempotency.in_progress`` while another
            makes the answer.
    """
    now = stores.clock.now()
    wanted = KeptAnswer(
        document_id=answer_id(tenant_id, key),
        tenant_id=tenant_id,
        fingerprint=fingerprint,
        begun_at=now,
        claimed_until=now + timedelta(seconds=lease_s),
        expires_at=now + KEPT,
    )
    try:
        stores.documents.create(wanted)
    except PipelineError as error:
        if error.code != "document.exists":
            raise
    else:
        return wanted
    try:
        there = stores.documents.get(KeptAnswer, wanted.document_id)
        if claimed(there, wanted) is there:
            return there
        return stores.documents.update(KeptAnswer, wanted.document_id, lambda there: claimed(there, wanted))
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        # It was withdrawn in this moment, so the next try may have it.
        raise PipelineError("idempotency.in_progress", retry_after_s=1) from error


def keep(
    stores: Stores, mine: KeptAnswer, *, status: int, media_type: str, body: str, headers: Mapping[str, str] = _NONE
) -> None:
    """Keep the answer that was made under a claim, unless another has made one meanwhile or it is too long to keep."""
    if len(body.encode()) > MAX_BODY_BYTES:
        give_up(stores, mine)
        return
    answer = {"status": status, "media_type": media_type, "body": body, "headers": dict(headers)}
    stores.documents.update(
        KeptAnswer,
        mine.document_id,
        lambda there: there if there.status is not None else there.model_copy(update=answer),
    )


def give_up(stores: Stores, mine: KeptAnswer) -> None:
    """Let another try at once. What was asked stays, because a part of it may have been done."""
    _end(stores, mine, {"claimed_until": stores.clock.now()})


def withdraw(stores: Stores, mine: KeptAnswer) -> None:
    """Keep nothing of a request that was refused and did nothing: its key is free again.

    It ends instead of being removed: another may have claimed it since, and must not lose it.
    """
    _end(stores, mine, {"claimed_until": (now := stores.clock.now()), "expires_at": now})


def _end(stores: Stores, mine: KeptAnswer, update: Mapping[str, datetime]) -> None:
    """End a claim, unless it was answered or is another's by now."""

    def ended(there: KeptAnswer) -> KeptAnswer:
        is_mine = there.status is None and there.claimed_until == mine.claimed_until
        return there.model_copy(update=update) if is_mine else there

    stores.documents.update(KeptAnswer, mine.document_id, ended)
