"""The durable queue: at least once, in order by key, leased, backed off, with dead letters."""

import base64
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.local.database import Database
from shared.errors import PipelineError
from shared.events import Event
from shared.ports import DeadLetter, Waiting
from shared.webhooks import Delivery

# The subscription of webhook deliveries.
DELIVERIES = "deliveries"
LEASE_S = 600.0
# When a message is due that is behind another of its key: looking for what is due must not look at thousands of these.
_BEHIND = 9e15
MAX_ATTEMPTS = 50
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 30.0


@dataclass(frozen=True)
class Message:
    """One delivery to one subscription: a CloudEvent in HTTP binary mode.

    Attributes:
        attempts: Deliveries begun, this one included.
    """

    sequence: int
    subscription: str
    headers: dict[str, str]
    body: bytes
    attempts: int


class EventQueue:
    """Messages in SQLite, kept until their subscriber has accepted them.

    Implements :class:`shared.ports.EventBus`, :class:`shared.ports.Queue`, :class:`shared.ports.DeliveryQueue`
    and :class:`shared.ports.DeadLetters`.

    Messages of one ordering key are delivered to a subscription one after the other, each until it is accepted
    or given up; messages without a key in any order.

    Args:
        database: Where messages are kept.
        topic_subscriptions: Functions that get events of the topic, each with the types it gets; none for all.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        topic_subscriptions: Mapping[str, Collection[str]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._topic_subscriptions = topic_subscriptions
        self._now = now
        self.arrived = threading.Event()

    def publish(self, events: Sequence[Event]) -> None:
        """Put events of the topic into the queue of every subscription (:class:`shared.ports.EventBus`)."""
        with self._database.write() as connection:
            for event in events:
                headers, body = pubsub_delivery(event)
                for subscription, types in self._topic_subscriptions.items():
                    if not types or event.type in types:
                        enqueue(connection, subscription, event.jobid, headers, body)
        self.arrived.set()

    def put(self, deliveries: Sequence[Delivery], /) -> None:
        """Have webhook deliveries attempted (:class:`shared.ports.DeliveryQueue`)."""
        with self._database.write() as connection:
            for delivery in deliveries:
                attributes = {"delivery_id": delivery.document_id, "tenant_id": delivery.tenant_id}
                at = datetime.fromtimestamp(self._now(), UTC)
                headers, body = _pubsub_message(delivery.document_id, at, delivery.lane, attributes, b"{}")
                enqueue(connection, DELIVERIES, delivery.lane, headers, body)
        self.arrived.set()

    def lease(self, limit: int, *, without: Sequence[str] = ()) -> Sequence[Message]:
        """Take due messages, of all subscriptions but some.

        Each must be acknowledged or rejected, or it is delivered again after ``LEASE_S``.
        """
        now = self._now()
        with self._database.write() as connection:
            rows = connection.execute(
                """
                WITH allowed AS NOT MATERIALIZED (
                    SELECT m.sequence, m.due_at FROM messages m
                    WHERE m.subscription NOT IN (SELECT value FROM json_each(:without)) AND NOT EXISTS (
                        SELECT 1 FROM messages e WHERE e.subscription = m.subscription
                        AND e.ordering_key = m.ordering_key AND e.sequence < m.sequence
                    )
                ), fresh AS (
                    SELECT sequence FROM allowed WHERE due_at = 0 ORDER BY sequence LIMIT :limit
                ), again AS (
                    SELECT sequence FROM allowed WHERE due_at > 0 AND due_at <= :now ORDER BY due_at LIMIT :limit
                )
                UPDATE messages SET due_at = :until, attempts = attempts + 1 WHERE sequence IN (
                    SELECT sequence FROM (SELECT * FROM fresh UNION ALL SELECT * FROM again)
                    ORDER BY sequence LIMIT :limit
                ) RETURNING sequence, subscription, headers, body, attempts
                """,
                {"now": now, "until": now + LEASE_S, "limit": limit, "without": json.dumps(list(without))},
            ).fetchall()
        return [
            Message(row["sequence"], row["subscription"], json.loads(row["headers"]), row["body"], row["attempts"])
            for row in sorted(rows, key=lambda row: row["sequence"])
        ]

    def acknowledge(self, message: Message) -> None:
        """The subscriber accepted it."""
        with self._database.write() as connection:
            _remove(connection, message.sequence)
        self.arrived.set()  # the next of its key may go

    def reject(self, message: Message, error: str) -> None:
        """The subscriber failed: deliver again after a pause, or give it up."""
        now = self._now()
        with self._database.write() as connection:
            if message.attempts >= MAX_ATTEMPTS:
                connection.execute(
                    """
                    INSERT INTO dead_letters SELECT sequence, subscription, ordering_key, headers, body, attempts, ?, ?
                    FROM messages WHERE sequence = ?
                    """,
                    (error, now, message.sequence),
                )
                _remove(connection, message.sequence)
            else:
                pause_s = min(FIRST_BACKOFF_S * 2 ** (message.attempts - 1), MAX_BACKOFF_S)
                connection.execute(
                    "UPDATE messages SET due_at = ?, last_error = ? WHERE sequence = ?",
                    (now + pause_s, error, message.sequence),
                )
        self.arrived.set()

    def release_leases(self) -> None:
        """Make every message due: only for the one process that owns the queue, when it starts."""
        with self._database.write() as connection:
            connection.execute(
                """
                UPDATE messages SET due_at = CASE WHEN EXISTS (
                    SELECT 1 FROM messages e WHERE e.subscription = messages.subscription
                    AND e.ordering_key = messages.ordering_key AND e.sequence < messages.sequence
                ) THEN ? ELSE 0 END
                """,
                (_BEHIND,),
            )

    def next_due_s(self) -> float | None:
        """Seconds until some message is due, or ``None`` when there is none."""
        (row,) = self._database.query("SELECT min(due_at) AS due_at FROM messages")
        return None if row["due_at"] is None else max(0.0, row["due_at"] - self._now())

    def waiting(self) -> Mapping[str, Waiting]:
        """What waits, by subscription; each message has waited since what it tells of happened."""
        rows = self._database.query(
            "SELECT subscription, count(*) AS depth, min(json_extract(headers, '$.\"ce-time\"')) AS since"
            " FROM messages GROUP BY subscription"
        )
        return {
            row["subscription"]: Waiting(
                row["depth"],
                max(0.0, self._now() - datetime.fromisoformat(row["since"]).timestamp()) if row["since"] else 0.0,
            )
            for row in rows
        }

    def depth(self) -> int:
        """Messages that are not yet accepted."""
        return int(self._database.query("SELECT count(*) FROM messages")[0][0])

    def replay(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the queue, those named or all, as new messages; return how many.

        Each goes to the one subscription that gave it up.

        Raises:
            PipelineError: ``request.invalid`` for an id that is no dead letter's; then none is put back.
        """
        with self._database.write() as connection:
            rows = connection.execute("SELECT sequence FROM dead_letters")
            known = {str(row["sequence"]): row["sequence"] for row in rows}
            wanted = set(known if ids is None else ids)
            if unknown := wanted - known.keys():
                raise PipelineError("request.invalid", f"There is no dead letter {min(unknown)}.")
            for sequence in sorted(known[name] for name in wanted):
                (row,) = connection.execute("SELECT * FROM dead_letters WHERE sequence = ?", (sequence,))
                enqueue(connection, row["subscription"], row["ordering_key"], json.loads(row["headers"]), row["body"])
                connection.execute("DELETE FROM dead_letters WHERE sequence = ?", (sequence,))
        self.arrived.set()
        return len(wanted)

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Messages that were given up, oldest first."""
        rows = self._database.query("SELECT * FROM dead_letters ORDER BY sequence")
        return [
            DeadLetter(
                id=str(row["sequence"]),
                subscription=row["subscription"],
                event_id=json.loads(row["headers"]).get("ce-id", ""),
                attempts=row["attempts"],
                last_error=row["last_error"],
            )
            for row in rows
        ]


def enqueue(
    connection: sqlite3.Connection, subscription: str, ordering_key: str | None, headers: dict[str, str], body: bytes
) -> None:
    """Put one message into the queue, within the caller's transaction."""
    connection.execute(
        """
        INSERT INTO messages (subscription, ordering_key, headers, body, due_at) VALUES (
            ?1, ?2, ?3, ?4,
            CASE WHEN EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND ordering_key = ?2) THEN ?5 ELSE 0 END
        )
        """,
        (subscription, ordering_key, json.dumps(headers), body, _BEHIND),
    )


def _remove(connection: sqlite3.Connection, sequence: int) -> None:
    """Take a message out of the queue; the next of its key is due."""
    gone = connection.execute(
        "DELETE FROM messages WHERE sequence = ? RETURNING subscription, ordering_key", (sequence,)
    ).fetchall()
    for row in gone:
        connection.execute(
            """
            UPDATE messages SET due_at = 0 WHERE due_at = ? AND sequence = (
                SELECT min(sequence) FROM messages WHERE subscription = ? AND ordering_key = ?
            )
            """,
            (_BEHIND, row["subscription"], row["ordering_key"]),
        )


def pubsub_delivery(event: Event) -> tuple[dict[str, str], bytes]:
    """An event as Eventarc delivers a Pub/Sub message: CloudEvent headers and body."""
    return _pubsub_message(event.id, event.time, event.jobid, event.attributes, event.to_json().encode())


def _pubsub_message(
    message_id: str, at: datetime, key: str, attributes: Mapping[str, str], data: bytes
) -> tuple[dict[str, str], bytes]:
    message = {
        "messageId": message_id,
        "publishTime": at.isoformat(),
        "orderingKey": key,
        "attributes": attributes,
        "data": base64.b64encode(data).decode(),
    }
    headers = {
        "ce-specversion": "1.0",
        "ce-id": message_id,
        "ce-source": "//pubsub.googleapis.com/projects/local/topics/events",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        "ce-time": at.isoformat(),
        "content-type": "application/json",
    }
    body = {"subscription": "projects/local/subscriptions/events", "message": message}
    return headers, json.dumps(body).encode()
