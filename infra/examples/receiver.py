"""A webhook receiver: verifies each delivery, and does what it asks for once.

    EARWITNESS_WEBHOOK_SECRETS=whsec_… python receiver.py [PORT] [DATABASE]

It needs ``pip install standardwebhooks`` and nothing of Earwitness. While a secret is rotated, give both, by commas.
What it does is to note and print; put your own work beside the note.
"""

import os
import sqlite3
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

MAX_BYTES = 1_000_000


def verified(body: bytes, headers: dict[str, str], secrets: list[str]) -> dict[str, Any] | None:
    """What was delivered, or ``None`` if no secret of ours signed it within the last five minutes."""
    for secret in secrets:
        try:
            delivered: dict[str, Any] = Webhook(secret).verify(body, headers)
            return delivered
        except Exception:  # noqa: BLE001, S112 - of a header that is no signature it raises whatever that leads to
            continue
    return None


def handle(database: str, webhook_id: str, event: dict[str, Any]) -> bool:
    """Note an event, unless it was noted: deliveries come at least once.

    Returns:
        Whether it was new. What you write in the same transaction is undone with the note if it fails, and the
        delivery comes again.
    """
    with closing(sqlite3.connect(database, timeout=5.0)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS handled (webhook_id TEXT PRIMARY KEY, type TEXT, job_id TEXT)")
        row = (webhook_id, event["type"], event["data"].get("job_id", ""))
        return connection.execute("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", row).rowcount == 1


class Receiver(BaseHTTPRequestHandler):
    """Answers fast: 2xx once it is safe here, anything else to get it again."""

    timeout = 10.0
    secrets: list[str]
    database: str

    def do_POST(self) -> None:
        """Take a delivery."""
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= MAX_BYTES:
            self.answer(413)
            return
        # Exactly the bytes that came: parsed and written again they would have another signature.
        body = self.rfile.read(length)
        event = verified(body, {name.lower(): value for name, value in self.headers.items()}, self.secrets)
        if event is None:
            self.answer(401)
            return
        webhook_id = self.headers["webhook-id"]
        if handle(self.database, webhook_id, event):
            print(event["type"], event["data"].get("job_id", ""), webhook_id, flush=True)  # noqa: T201
        self.answer(204)

    def answer(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def main() -> None:
    """Serve on 127.0.0.1; in the world, something that speaks https stands in front."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    Receiver.database = sys.argv[2] if len(sys.argv) > 2 else "handled.sqlite"
    Receiver.secrets = os.environ["EARWITNESS_WEBHOOK_SECRETS"].split(",")
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        print(f"Listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
