"""The deliveries that events make, and their log: all but the sending."""

import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from infra.pipeline.audit import OWNER, note
from infra.pipeline.callbacks import callback_url
from infra.pipeline.endpoints import absent_as, callback_endpoint, chosen_endpoint, find_endpoint, list_endpoints
from infra.pipeline.outbox import Stores
from infra.wiring import Services
from shared.errors import PipelineError
from shared.events import Event
from shared.webhooks import CALLBACK_TYPES, PING, Delivery, DeliveryState, delivery_of, new_delivery

# How long the log of deliveries goes back.
KEPT = timedelta(days=30)
# A message that was put into the queue is there until it is taken; this is for one that was given up all the same.
PUT_AGAIN = timedelta(minutes=15)
# A delivery's id holds the time of its event, so that all of a job's are found in pages of this size.
_PAGE = 100
MAX_REPLAYED = 500


def fan_out(services: Services, event: Event) -> None:
    """Make the deliveries of an event, and have each attempted. Safe to repeat.

    Raises:
        PipelineError: A retryable one, so that the event is delivered again.
    """
    now = services.clock.now()
    deliveries = [
        delivery_of(event, endpoint, now, KEPT)
        for endpoint in list_endpoints(services, event.tenantid)
        if endpoint.is_enabled and endpoint.wants(event.type)
    ]
    if event.type in CALLBACK_TYPES and (url := callback_url(services, event.jobid)):
        deliveries.append(delivery_of(event, callback_endpoint(services, event.tenantid), now, KEPT, url=url))
    if event.type == "job.deleted":
        _forget(services, event)
    commit(services, deliveries)


def commit(services: Services, deliveries: Sequence[Delivery]) -> None:
    """Store deliveries, unless they are there, and have each attempted.

    When this was cut off between the two, whoever repeats it puts them into the queue once more, which does no harm.
    """
    for delivery in deliveries:
        try:
            services.documents.create(delivery.model_copy(update={"due_at": services.clock.now() + PUT_AGAIN}))
        except PipelineError as error:
            if error.code != "document.exists":
                raise
    if deliveries:
        services.deliveries.put(deliveries)


def ping(services: Services, tenant_id: str, endpoint_id: str) -> Delivery:
    """Have an endpoint told of nothing, once, even if it is paused.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    endpoint, now = chosen_endpoint(services, tenant_id, endpoint_id), services.clock.now()
    event_id = f"{endpoint_id}/{secrets.token_hex(8)}/{PING}"
    delivery = new_delivery(endpoint, event_id, PING, now, KEPT, at=now, data={"webhook_id": endpoint_id})
    commit(services, [delivery])
    return delivery


def find_delivery(stores: Stores, tenant_id: str, delivery_id: str) -> Delivery:
    """A delivery of a tenant.

    Raises:
        PipelineError: ``delivery.not_found``.
    """
    try:
        delivery = stores.documents.get(Delivery, delivery_id)
    except PipelineError as error:
        raise absent_as(error, "delivery.not_found") from error
    if delivery.tenant_id != tenant_id:
        raise PipelineError("delivery.not_found")
    return delivery


def list_deliveries(
    stores: Stores,
    tenant_id: str,
    endpoint_id: str,
    *,
    state: DeliveryState | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Sequence[Delivery]:
    """The log of an endpoint, newest event first."""
    equal = {"state": str(state)} if state else {}
    return stores.documents.find(
        Delivery, tenant_id=tenant_id, endpoint_id=endpoint_id, limit=limit, after=after, **equal
    )


def replay(services: Services, tenant_id: str, delivery_id: str, *, actor: str = OWNER) -> Delivery:
    """Deliver again, under the same id, as if the event had just come.

    Raises:
        PipelineError: ``delivery.not_found``.
    """
    find_delivery(services, tenant_id, delivery_id)
    replayed = _replay(services, delivery_id)
    note(services, tenant_id, actor, "delivery.replayed", delivery_id)
    return replayed


def replay_failed(services: Services, tenant_id: str, endpoint_id: str, *, actor: str = OWNER) -> int:
    """Deliver again what has failed of an endpoint, the newest five hundred; return how many.

    Raises:
        PipelineError: ``webhook.not_found``.
    """
    find_endpoint(services, tenant_id, endpoint_id)
    failed = list_deliveries(services, tenant_id, endpoint_id, state=DeliveryState.FAILED, limit=MAX_REPLAYED)
    wanted = [delivery for delivery in failed if delivery.type != PING]
    for delivery in reversed(wanted):
        _replay(services, delivery.document_id)
    if wanted:
        note(services, tenant_id, actor, "webhook.replayed", endpoint_id)
    return len(wanted)


def put_due(services: Services, *, until: float, limit: int = 200) -> int:
    """Put deliveries into the queue whose next attempt is due; return how many. A part of ``sweep``.

    Args:
        services: Of this process.
        until: When to stop, by ``time.monotonic``.
        limit: How many are put at a time.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    count = 0
    while due := services.documents.due(Delivery, services.clock.now(), limit=limit):
        services.deliveries.put(due)
        again = services.clock.now() + PUT_AGAIN
        for delivery in due:
            _postpone(services, delivery, again)
        count += len(due)
        if len(due) < limit or time.monotonic() >= until:
            break
    return count


def _postpone(services: Services, put: Delivery, again: datetime) -> None:
    def postpone(delivery: Delivery) -> Delivery:
        # An attempt may have been made already.
        return delivery if delivery.due_at != put.due_at else delivery.model_copy(update={"due_at": again})

    try:
        services.documents.update(Delivery, put.document_id, postpone)
    except PipelineError as error:
        if error.code != "document.not_found":  # its time in the log may be over
            raise


def _replay(services: Services, delivery_id: str) -> Delivery:
    now = services.clock.now()
    fresh = {
        "state": DeliveryState.PENDING,
        "started_at": now,
        "not_before": now,
        "tries": 0,
        "due_at": now + PUT_AGAIN,
        "expires_at": now + KEPT,
    }
    replayed = services.documents.update(
        Delivery, delivery_id, lambda delivery: delivery.model_copy(update=dict(fresh))
    )
    services.deliveries.put([replayed])
    return replayed


def _forget(services: Services, event: Event) -> None:
    """Of a job that is deleted the log says that its events were delivered, and not what they said."""
    after: str | None = None
    while page := services.documents.find(
        Delivery, tenant_id=event.tenantid, job_id=event.jobid, limit=_PAGE, after=after
    ):
        for delivery in page:
            after = delivery.document_id
            if delivery.data:
                services.documents.update(Delivery, after, lambda before: before.model_copy(update={"data": {}}))
