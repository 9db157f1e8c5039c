"""Dead letters on a Pub/Sub subscription: shown by taking and giving back, delivered again by publishing anew."""

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from google.api_core.exceptions import DeadlineExceeded
from google.api_core.retry import Retry, if_transient_error
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

from infra.gcp.failures import translated
from shared.errors import PipelineError
from shared.events import Event
from shared.ports import DeadLetter

_SERVICE = "Pub/Sub"
_MAX_LETTERS = 1000
_REQUEST_S = 4.0
# After a call's own time, for the requests that it had begun and for its last ones.
_SPARE_S = 10.0
# Names of the attributes with which Pub/Sub marks what it gives up.
_MARK = "CloudPubSubDeadLetterSource"


def connect(
    project: str, subscription: str, topic: str, *, limit_s: float = 50.0, patience_s: float = _REQUEST_S
) -> "PubsubDeadLetters":
    """The dead letters of a project, with the credentials of this process, or of ``PUBSUB_EMULATOR_HOST``.

    Args:
        project: Its id.
        subscription: Name of the subscription that keeps them, without a path.
        topic: Name of the topic of events, without a path.
        limit_s: As for :class:`PubsubDeadLetters`.
        patience_s: As for :class:`PubsubDeadLetters`.

    Raises:
        PipelineError: ``service.unavailable`` when there are no credentials.
    """
    with translated(_SERVICE):
        if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
            channel = grpc.insecure_channel(emulator, options=[("grpc.max_receive_message_length", -1)])
            subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        else:
            subscriber, publisher = SubscriberClient(), PublisherClient()
        return PubsubDeadLetters(
            subscriber,
            publisher,
            subscriber.subscription_path(project, subscription),
            publisher.topic_path(project, topic),
            limit_s=limit_s,
            patience_s=patience_s,
        )


class PubsubDeadLetters:
    """Implements :class:`shared.ports.DeadLetters`.

    Pub/Sub shows a message only to whoever takes it. So a call takes what is there, the first thousand of very many,
    holds it for as long as a call may last, and gives back what it did not deliver. Meanwhile another call does not
    see these, and if the process dies they are there again when that time is over.

    A replay publishes to the topic of events: every subscription gets the event again under the id that it had, not
    only the one that gave it up. Delivery at least once allows that, and subscribers know an event by its id.

    Args:
        subscriber: Of Pub/Sub.
        publisher: Of Pub/Sub.
        subscription_path: ``projects/PROJECT/subscriptions/SUBSCRIPTION``, that keeps dead letters.
        topic_path: ``projects/PROJECT/topics/TOPIC``, that they come from and go back to.
        limit_s: How long a call may last; half of it for taking.
        patience_s: How long to wait for more before what was taken counts as all.
    """

    def __init__(
        self,
        subscriber: SubscriberClient,
        publisher: PublisherClient,
        subscription_path: str,
        topic_path: str,
        *,
        limit_s: float,
        patience_s: float,
    ) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._subscription_path = subscription_path
        self._topic_path = topic_path
        self._limit_s = limit_s
        self._patience_s = patience_s

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Those that are there, oldest first."""
        with self._taken() as taken:
            return [_dead_letter(one.message) for one in _in_order(taken.values())]

    def replay(self, ids: Sequence[str] | None = None) -> int:
        """Publish dead letters again, those named or all, each acknowledged once that was answered; return how many.

        When ``service.unavailable`` is raised, a part may have been delivered; what is still listed was not, or may
        have been.
        """
        until = time.monotonic() + self._limit_s
        wanted = None if ids is None else frozenset(ids)
        with self._taken(wanted) as taken:
            if wanted is not None and (unknown := wanted - taken.keys()):
                raise PipelineError("request.invalid", f"There is no dead letter {min(unknown)}.")
            chosen = [one for one in _in_order(taken.values()) if wanted is None or one.message.message_id in wanted]
            for count, letter in enumerate(chosen):
                if time.monotonic() > until:
                    raise PipelineError("service.unavailable", f"{_SERVICE} is slow: {count} were delivered again.")
                self._deliver(letter)
                del taken[letter.message.message_id]
        return len(chosen)

    def _deliver(self, letter: ReceivedMessage) -> None:
        with translated(_SERVICE):
            self._publisher.publish(topic=self._topic_path, messages=[_as_published(letter.message)], **_bounded())
            self._subscriber.acknowledge(subscription=self._subscription_path, ack_ids=[letter.ack_id], **_bounded())

    @contextmanager
    def _taken(self, wanted: frozenset[str] | None = None) -> Iterator[dict[str, ReceivedMessage]]:
        """Dead letters by id, all of them or until those wanted are there; what is left at the end is given back."""
        taken: dict[str, ReceivedMessage] = {}
        try:
            self._take(taken, wanted)
            yield taken
        finally:
            with suppress(PipelineError):  # they come back by themselves, if later
                self._hold(taken.values(), 0.0)

    def _take(self, taken: dict[str, ReceivedMessage], wanted: frozenset[str] | None) -> None:
        until = time.monotonic() + self._limit_s / 2
        with translated(_SERVICE):
            # To whoever pulls, a service that says nothing looks like a subscription that is empty.
            self._subscriber.get_subscription(subscription=self._subscription_path, **_bounded())
        while wanted is None or wanted - taken.keys():
            page = self._pull(_MAX_LETTERS - len(taken))
            # A message may come twice; the younger of its handles is the good one.
            taken.update({one.message.message_id: one for one in page})
            self._hold(page, self._limit_s + _SPARE_S)
            if not page or len(taken) >= _MAX_LETTERS or time.monotonic() > until:
                return

    def _pull(self, most: int) -> Sequence[ReceivedMessage]:
        request = {"subscription": self._subscription_path, "max_messages": most}
        with translated(_SERVICE):
            try:
                # Not tried again: only a whole time of silence is to count as there being nothing.
                return self._subscriber.pull(request=request, retry=None, timeout=self._patience_s).received_messages
            except DeadlineExceeded:
                return ()

    def _hold(self, letters: Collection[ReceivedMessage], seconds: float) -> None:
        """Keep others from getting these for so long; with 0, give them back."""
        if letters:
            with translated(_SERVICE):
                self._subscriber.modify_ack_deadline(
                    subscription=self._subscription_path,
                    ack_ids=[one.ack_id for one in letters],
                    ack_deadline_seconds=int(seconds),
                    **_bounded(),
                )


def _bounded() -> Mapping[str, Any]:
    """What keeps one request, with its retries, within its time."""
    return {"retry": Retry(if_transient_error, initial=0.1, maximum=1.0, timeout=_REQUEST_S), "timeout": _REQUEST_S}


def _in_order(letters: Collection[ReceivedMessage]) -> Sequence[ReceivedMessage]:
    return sorted(letters, key=lambda letter: letter.message.publish_time)


def _dead_letter(message: PubsubMessage) -> DeadLetter:
    attempts = message.attributes.get(f"{_MARK}DeliveryCount", "")
    return DeadLetter(
        id=message.message_id,
        subscription=message.attributes.get(f"{_MARK}Subscription", ""),
        event_id=_event_id(message.data),
        attempts=int(attempts) if attempts.isdecimal() else 0,
        last_error=message.attributes.get(f"{_MARK}DeliveryErrorMessage", ""),
    )


def _event_id(data: bytes) -> str:
    try:
        return Event.from_json(data).id
    except ValueError:
        return ""


def _as_published(message: PubsubMessage) -> PubsubMessage:
    attributes = {name: value for name, value in message.attributes.items() if not name.startswith(_MARK)}
    # The key of every event is its job, should it have got lost on the way.
    key = message.ordering_key or attributes.get("job_id", "")
    return PubsubMessage(data=message.data, ordering_key=key, attributes=attributes)
