"""A Pub/Sub subscriber that prints what completed: in order within a job, and each event once.

    python subscriber.py PROJECT SUBSCRIPTION [DATABASE]

It needs ``pip install google-cloud-pubsub`` and nothing of Earwitness. Make the subscription with ordering and a
filter, or every event of every job comes:

    gcloud pubsub subscriptions create completions --topic=earwitness-events --enable-message-ordering \
      --message-filter='attributes.type = "stage.completed" OR attributes.type = "job.completed"'
"""

import json
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from typing import Any

import google.cloud.pubsub_v1 as pubsub_v1  # type: ignore[import-untyped]
from google.cloud.pubsub_v1.subscriber.message import Message  # type: ignore[import-untyped]


def handle(database: str, event: dict[str, Any]) -> bool:
    """Note an event, unless it was noted: Pub/Sub delivers at least once.

    Returns:
        Whether it was new. Its effect is the note; write what you make of it in the same transaction.
    """
    with closing(sqlite3.connect(database, timeout=5.0)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS completed (event_id TEXT PRIMARY KEY, job_id TEXT, type TEXT, time TEXT)"
        )
        row = (event["id"], event["jobid"], event["type"], event["time"])
        return connection.execute("INSERT OR IGNORE INTO completed VALUES (?, ?, ?, ?)", row).rowcount == 1


def line(event: dict[str, Any]) -> str:
    """An event for people: when, which job, what, and where the files are."""
    data = event["data"]
    what = f"stage {data['stage']}" if event["type"] == "stage.completed" else "job"
    objects = [artifact["object"] for artifact in data["artifacts"]]
    return " ".join([event["time"], event["jobid"], what, *(f"{part['bucket']}/{part['name']}" for part in objects)])


def main() -> None:
    """Print until stopped."""
    project, subscription = sys.argv[1:3]
    database = sys.argv[3] if len(sys.argv) > 3 else "completed.sqlite"

    def take(message: Message) -> None:
        # One that raises is delivered again, after the ack deadline; those of its job wait behind it.
        event = json.loads(message.data)
        if event["type"] in ("stage.completed", "job.completed") and handle(database, event):
            print(line(event), flush=True)  # noqa: T201
        message.ack()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with pubsub_v1.SubscriberClient() as client:
        pulling = client.subscribe(client.subscription_path(project, subscription), take)
        pulling.add_done_callback(lambda _: stop.set())  # it ends by itself only for good
        stop.wait()
        if pulling.done():
            pulling.result()
        pulling.cancel()
        pulling.result()


if __name__ == "__main__":
    main()
