"""One attempt to deliver one event to one endpoint, and what follows from it."""

import json
import logging
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from infra.outbound import Answer, outbound
from infra.pipeline.audit import note
from infra.pipeline.endpoints import list_endpoints
from infra.pipeline.webhooks import KEPT, commit
from infra.wiring import Services
from shared.errors import PipelineError
from shared.jobs import Job
from shared.webhooks import (
    MAX_ATTEMPTS_SHOWN,
    PAUSED,
    PING,
    Attempt,
    Delivery,
    DeliveryState,
    Endpoint,
    Retries,
    new_delivery,
)

log = logging.getLogger(__name__)

# Beside the attempt itself: for the stores, which are patient for six seconds a call.
_CLAIM_GRACE_S = 50.0
# An endpoint counts as failing from the third attempt of a delivery on, so that one that fails now and then does not
# have its document written for each.
_FAILING_TRIES = 3
_GONE = 410
# Who pauses an endpoint, in the audit log.
_ACTOR = "notify"
# What a full payload says of a job, and of each of its stages.
_JOB_FIELDS = frozenset(
    (
        *("job_id", "state", "revision", "created_at", "updated_at", "deadline_at", "filename", "owner_id"),
        *("metadata", "options", "progress", "notices", "error"),
    )
)
_STAGE_FIELDS = frozenset(["state", "attempt", "progress", "started_at", "finished_at", "error", "metrics"])


def deliver(services: Services, delivery_id: str) -> None:
    """Make the attempt that a message asks for, unless it was made, is being made, or is not due yet.

    Raises:
        PipelineError: ``service.unavailable`` of our own stores, so that the message comes again.
    """
    delivery = _claim(services, delivery_id)
    if delivery is None:
        return
    endpoint = _endpoint(services, delivery)
    if endpoint is None or not (endpoint.is_open or delivery.type == PING):
        if endpoint is not None:
            _tell_of_pause(services, endpoint)
        reason = "The endpoint was deleted." if endpoint is None else "The endpoint is disabled or paused."
        _conclude(services, delivery, Attempt(at=services.clock.now(), duration_s=0.0, error=reason), retry_at=None)
        return
    attempt, asked_s = _attempt(services, delivery, endpoint)
    if not attempt.error:
        _conclude(services, delivery, attempt, retry_at=None)
        if endpoint.failing_since is not None:
            _set_failing(services, endpoint, None)
        return
    log.info("%s to %s was not delivered: %s", delivery_id, endpoint.document_id, attempt.error)
    now = services.clock.now()
    tried = delivery.model_copy(update={"tries": delivery.tries + 1})
    retry_at = _retries(services).next_attempt(tried, now, jitter=random.random(), asked_s=asked_s)  # noqa: S311 (no secret)
    is_last = delivery.type == PING or attempt.status == _GONE
    # First, so that it is done again with the attempt if it is cut off.
    if endpoint.url and delivery.type != PING:
        _judge(services, endpoint, tried, attempt, now)
    _conclude(services, delivery, attempt, retry_at=None if is_last else retry_at)


def _claim(services: Services, delivery_id: str) -> Delivery | None:
    """Hold a delivery for one attempt: nobody else makes it before the claim is over."""
    now = services.clock.now()
    until = now + timedelta(seconds=services.settings.webhook_timeout_s + _CLAIM_GRACE_S)
    is_held = False

    def claim(delivery: Delivery) -> Delivery:
        nonlocal is_held
        is_held = delivery.state is DeliveryState.PENDING and delivery.not_before is not None
        is_held = is_held and (delivery.not_before or now) <= now
        return delivery.model_copy(update={"not_before": until, "due_at": until}) if is_held else delivery

    try:
        delivery = services.documents.update(Delivery, delivery_id, claim)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return None
    return delivery if is_held else None


def _endpoint(services: Services, delivery: Delivery) -> Endpoint | None:
    try:
        return services.documents.get(Endpoint, delivery.endpoint_id)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return None


def _attempt(services: Services, delivery: Delivery, endpoint: Endpoint) -> tuple[Attempt, float]:
    """Send once; how it went, and for how long the endpoint asks to be left alone."""
    job = _job(services, delivery) if endpoint.payload == "full" else None
    content = json.dumps(delivery.body(endpoint.payload, job), separators=(",", ":"), ensure_ascii=False)
    at, began = services.clock.now(), time.monotonic()
    headers = {
        **endpoint.headers,
        "content-type": "application/json",
        **signature_headers(endpoint.signing_secrets(at), delivery.document_id, datetime.now(UTC), content),
    }
    status, asked_s, error = 0, 0.0, ""
    try:
        answer = outbound(services.settings).post(
            delivery.url or endpoint.url,
            headers=headers,
            content=content.encode(),
            limit_s=services.settings.webhook_timeout_s,
        )
        status, asked_s = answer.status, _asked(answer)
        if not 200 <= status < 300:
            error = f"It was answered by status {status}."
    except PipelineError as failure:
        error = failure.message
    return Attempt(at=at, duration_s=round(time.monotonic() - began, 3), status=status, error=error), asked_s


def signature_headers(secrets: Sequence[str], message_id: str, at: datetime, content: str) -> dict[str, str]:
    """The headers of Standard Webhooks, with one signature for each secret.

    Args:
        secrets: As :func:`shared.webhooks.make_secret` writes them.
        message_id: Of the delivery.
        at: Now, in UTC: the library would take another zone's time for it.
        content: The body.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, content) for secret in secrets),
    }


def _job(services: Services, delivery: Delivery) -> dict[str, Any] | None:
    """The job as it is now, as its owner sees it; ``None`` once it is deleted."""
    if not delivery.job_id:
        return None
    try:
        job: Job = services.jobs.get(delivery.job_id)
    except PipelineError as error:
        if error.code != "job.not_found":
            raise
        return None
    if job.state.is_gone:
        return None
    return {
        **job.model_dump(mode="json", include=set(_JOB_FIELDS)),
        "stages": {
            name: stage.model_dump(mode="json", include=set(_STAGE_FIELDS)) for name, stage in job.stages.items()
        },
    }


def _asked(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text[:9]) if text.isascii() and text.isdecimal() else 0.0


def _conclude(services: Services, delivery: Delivery, attempt: Attempt, *, retry_at: datetime | None) -> None:
    """Write an attempt into the log, and when the next one is."""
    state = DeliveryState.FAILED if attempt.error else DeliveryState.DELIVERED
    if retry_at is not None:
        state = DeliveryState.PENDING

    def conclude(before: Delivery) -> Delivery:
        update = {
            "attempts": (*before.attempts, attempt)[-MAX_ATTEMPTS_SHOWN:],
            "tries": before.tries + 1,
        }
        if before.not_before == delivery.not_before:  # and it was not replayed meanwhile
            update |= {"state": state, "not_before": retry_at, "due_at": retry_at}
        return before.model_copy(update=update)

    try:
        services.documents.update(Delivery, delivery.document_id, conclude)
    except PipelineError as error:
        if error.code != "document.not_found":  # its time in the log may be over
            raise


def _judge(services: Services, endpoint: Endpoint, tried: Delivery, attempt: Attempt, now: datetime) -> None:
    """After a failed attempt: whether the endpoint is to be paused."""
    if attempt.status == _GONE:
        _pause(services, endpoint, "It says that it is gone (status 410).", now)
    elif endpoint.failing_since is None:
        if tried.tries >= _FAILING_TRIES:
            _set_failing(services, endpoint, tried.started_at)
    elif now >= endpoint.failing_since + timedelta(seconds=services.settings.webhook_pause_after_s):
        _pause(services, endpoint, f"It has taken nothing since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC.", now)


def _set_failing(services: Services, endpoint: Endpoint, since: datetime | None) -> None:
    try:
        services.documents.update(
            Endpoint,
            endpoint.document_id,
            lambda before: (
                before
                if (before.failing_since is None) == (since is None)
                else before.model_copy(update={"failing_since": since})
            ),
        )
    except PipelineError as error:  # the next attempt says so again
        log.info("%s was not noted to be failing or not: %s", endpoint.document_id, error)


def _pause(services: Services, endpoint: Endpoint, reason: str, now: datetime) -> None:
    def pause(before: Endpoint) -> Endpoint:
        if before.paused_at is not None or before.failing_since != endpoint.failing_since:
            return before
        return before.model_copy(update={"paused_at": now, "paused_because": reason, "is_pause_told": False})

    try:
        paused = services.documents.update(Endpoint, endpoint.document_id, pause)
    except PipelineError as error:
        if error.code != "document.not_found":
            raise
        return
    if paused.paused_at == now:
        log.warning("%s was paused: %s", endpoint.document_id, reason)
        note(services, endpoint.tenant_id, _ACTOR, "webhook.paused", endpoint.document_id)
    _tell_of_pause(services, paused)


def _tell_of_pause(services: Services, paused: Endpoint) -> None:
    """Tell the tenant's other endpoints, unless that was done. Safe to repeat, by whoever comes upon it."""
    if paused.paused_at is None or paused.is_pause_told:
        return
    event_id = f"{paused.document_id}/{int(paused.paused_at.timestamp() * 1000)}/{PAUSED}"
    address = urlsplit(paused.url)
    data = {
        "webhook_id": paused.document_id,
        # Its path and query may hold secrets.
        "url": f"{address.scheme}://{address.hostname}",
        "reason": paused.paused_because,
    }
    deliveries = [
        new_delivery(other, event_id, PAUSED, services.clock.now(), KEPT, at=paused.paused_at, data=data)
        for other in list_endpoints(services, paused.tenant_id)
        if other.is_open and other.wants(PAUSED)
    ]
    commit(services, deliveries)
    services.documents.update(
        Endpoint,
        paused.document_id,
        lambda before: (
            before.model_copy(update={"is_pause_told": True}) if before.paused_at == paused.paused_at else before
        ),
    )


def _retries(services: Services) -> Retries:
    settings = services.settings
    return Retries(
        first_s=settings.webhook_first_retry_s, max_s=settings.webhook_max_retry_s, for_s=settings.webhook_retry_for_s
    )
