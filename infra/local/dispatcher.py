"""Delivers the queue's messages to the functions, over HTTP, several at once."""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from infra.local.event_queue import LEASE_S, EventQueue, Message
from shared.errors import PipelineError

log = logging.getLogger(__name__)

_MAX_WAIT_S = 1.0
# Uploads are looked at one after the other, and fetching waits for others' servers: more deliveries of them would only
# take places from quick ones.
SLOW_SUBSCRIPTIONS = {"on_upload": 2, "fetch": 3}


class Dispatcher:
    """Pushes messages as Pub/Sub push subscriptions and Eventarc triggers do.

    Args:
        queue: Where messages come from.
        functions_url: A message of subscription ``x`` is posted to ``{functions_url}/x``.
        token: Bearer token that the functions demand.
        concurrency: Deliveries under way at once.
        function: Gets the messages of all subscriptions, instead of the one of the subscription's name.
    """

    def __init__(
        self, queue: EventQueue, functions_url: str, token: str, *, concurrency: int = 8, function: str = ""
    ) -> None:
        self._queue = queue
        self._functions_url = functions_url
        self._function = function
        self._client = httpx.Client(
            timeout=httpx.Timeout(LEASE_S - 10.0, connect=5.0),
            headers={"authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=False,
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="delivery")
        self._free = threading.Semaphore(concurrency)
        self._counting = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin delivering."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further delivery; those under way go on."""
        self._stopping.set()
        self._queue.arrived.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def close(self) -> None:
        """Wait for deliveries under way: call this once the functions have answered or are gone.

        One that failed meanwhile is left to its lease, which the next start releases.
        """
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._queue.arrived.clear()
            try:
                delivered = self._deliver_due()
                wait_s = self._queue.next_due_s()
            except Exception:  # whatever it was, deliveries must go on
                log.exception("the queue is not readable now")
                delivered, wait_s = 0, None
            if not delivered:
                self._queue.arrived.wait(_MAX_WAIT_S if wait_s is None else min(max(wait_s, 0.01), _MAX_WAIT_S))

    def _deliver_due(self) -> int:
        self._free.acquire()
        messages: Sequence[Message] = ()
        try:
            with self._counting:
                full = [name for name, limit in SLOW_SUBSCRIPTIONS.items() if self._under_way[name] >= limit]
            messages = self._queue.lease(1, without=full)
        finally:
            if not messages:
                self._free.release()
        for message in messages:
            with self._counting:
                self._under_way[message.subscription] += 1
            self._pool.submit(self._deliver, message)
        return len(messages)

    def _deliver(self, message: Message) -> None:
        try:
            error = self._post(message)
            if error is None:
                self._queue.acknowledge(message)
            elif not self._stopping.is_set():
                log.info("%s %s is delivered again: %s", message.subscription, message.headers.get("ce-id"), error)
                self._queue.reject(message, error)
        except PipelineError as failure:
            log.warning("a delivery is left to its lease: %s", failure)
        finally:
            with self._counting:
                self._under_way[message.subscription] -= 1
            self._free.release()
            self._queue.arrived.set()  # one that waited for a place of its subscription may go

    def _post(self, message: Message) -> str | None:
        try:
            response = self._client.post(
                f"{self._functions_url}/{self._function or message.subscription}/",
                content=message.body,
                headers=message.headers,
            )
        except httpx.HTTPError as error:
            return f"{type(error).__name__}"
        return None if response.is_success else f"HTTP {response.status_code}"
