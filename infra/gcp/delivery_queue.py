"""Webhook deliveries that wait, on a Pub/Sub topic of their own."""

import time
from collections.abc import Sequence

from google.api_core.retry import Retry, if_transient_error
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from infra.gcp.failures import translated
from infra.gcp.topic import SERVICE, open_topic
from shared.errors import PipelineError
from shared.webhooks import Delivery

_MAX_MESSAGES = 1000
_REQUEST_S = 4.0
_PUT_S = 30.0


def connect(project: str, topic: str) -> "PubsubDeliveryQueue":
    """The queue of a project, with the credentials of this process, or of ``PUBSUB_EMULATOR_HOST``.

    Args:
        project: Its id.
        topic: The topic's name, without a path.

    Raises:
        PipelineError: ``service.unavailable`` when there are no credentials.
    """
    return PubsubDeliveryQueue(*open_topic(project, topic))


class PubsubDeliveryQueue:
    """Implements :class:`shared.ports.DeliveryQueue`: one message a delivery, its lane being the ordering key.

    Args:
        publisher: Of Pub/Sub.
        topic_path: ``projects/PROJECT/topics/TOPIC``.
    """

    def __init__(self, publisher: PublisherClient, topic_path: str) -> None:
        self._publisher = publisher
        self._topic_path = topic_path

    def put(self, deliveries: Sequence[Delivery], /) -> None:
        """Have each attempted; when it raises, some may be on their way: put all of them again."""
        deadline = time.monotonic() + _PUT_S
        # The service takes one ordering key a request.
        by_lane: dict[str, list[PubsubMessage]] = {}
        for delivery in deliveries:
            by_lane.setdefault(delivery.lane, []).append(_message(delivery))
        for messages in by_lane.values():
            for start in range(0, len(messages), _MAX_MESSAGES):
                limit_s = min(_REQUEST_S, deadline - time.monotonic())
                if limit_s <= 0:
                    raise PipelineError("service.unavailable", f"{SERVICE} is too slow for this many deliveries.")
                retry = Retry(if_transient_error, initial=0.1, maximum=1.0, timeout=limit_s)
                with translated(SERVICE):
                    page = messages[start : start + _MAX_MESSAGES]
                    self._publisher.publish(topic=self._topic_path, messages=page, retry=retry, timeout=limit_s)


def _message(delivery: Delivery) -> PubsubMessage:
    return PubsubMessage(
        data=b"{}",
        ordering_key=delivery.lane,
        attributes={"delivery_id": delivery.document_id, "tenant_id": delivery.tenant_id},
    )
