"""Events on a Pub/Sub topic."""

import time
from collections.abc import Iterator, Sequence

from google.api_core.retry import Retry, if_transient_error
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from infra.gcp.failures import translated
from infra.gcp.topic import SERVICE, open_topic
from shared.errors import PipelineError
from shared.events import Event

_MAX_MESSAGES = 1000
# The limit is 10 MB for a request; what the events do not account for is attributes and framing.
_MAX_DATA_BYTES = 9_000_000
_REQUEST_S = 4.0
_PUBLISH_S = 30.0


def connect(project: str, topic: str) -> "PubsubEventBus":
    """The bus of a project, with the credentials of this process, or of ``PUBSUB_EMULATOR_HOST``.

    Args:
        project: Its id.
        topic: The topic's name, without a path.

    Raises:
        PipelineError: ``service.unavailable`` when there are no credentials.
    """
    return PubsubEventBus(*open_topic(project, topic))


class PubsubEventBus:
    """Implements :class:`shared.ports.EventBus`.

    Publishes by the plain RPC, in the caller's thread: when it returns, the service has stored the messages, and
    nothing waits in the background of a process that may be frozen or ended between two requests.

    Args:
        publisher: Of Pub/Sub.
        topic_path: ``projects/PROJECT/topics/TOPIC``.
    """

    def __init__(self, publisher: PublisherClient, topic_path: str) -> None:
        self._publisher = publisher
        self._topic_path = topic_path

    def publish(self, events: Sequence[Event]) -> None:
        """Hand events over; on return they are durable.

        When it raises, a part may have been published, of each job from its first event on without a gap: publish all
        of them again. Subscribers know those that come twice by the event's id.
        """
        deadline = time.monotonic() + _PUBLISH_S
        for messages in _requests(events):
            limit_s = min(_REQUEST_S, deadline - time.monotonic())
            if limit_s <= 0:
                raise PipelineError("service.unavailable", f"{SERVICE} is too slow for this many events.")
            retry = Retry(if_transient_error, initial=0.1, maximum=1.0, timeout=limit_s)
            with translated(SERVICE):
                self._publisher.publish(topic=self._topic_path, messages=messages, retry=retry, timeout=limit_s)


def _requests(events: Sequence[Event]) -> Iterator[list[PubsubMessage]]:
    """Messages as they go together: of one ordering key, because the service refuses more, and within its limits."""
    by_key: dict[str, list[PubsubMessage]] = {}
    for event in events:
        by_key.setdefault(event.jobid, []).append(_message(event))
    for messages in by_key.values():
        page: list[PubsubMessage] = []
        size = 0
        for message in messages:
            if page and (len(page) == _MAX_MESSAGES or size + len(message.data) > _MAX_DATA_BYTES):
                yield page
                page, size = [], 0
            page.append(message)
            size += len(message.data)
        yield page


def _message(event: Event) -> PubsubMessage:
    return PubsubMessage(
        data=event.to_json().encode(),
        ordering_key=event.jobid,
        attributes=event.attributes,
    )
