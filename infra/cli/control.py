"""``earwitness cancel``, ``retry``, ``delete`` and ``dead-letters``: wishes, written into the state of a local cloud.

A cloud that is up hears of them within a second; one that is not, when it is started again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from infra.cli.console import errors_as_exit, stdout
from infra.cli.status import open_state
from infra.clock import SystemClock
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.pipeline.control import cancel_job, delete_job, retry_job
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS


@dataclass(frozen=True)
class _State:
    """The stores of a local cloud (:class:`infra.pipeline.outbox.Stores`)."""

    clock: SystemClock
    jobs: LocalJobStore
    events: EventQueue


def cancel(job_id: str, data: Path | None) -> int:
    """End a job."""
    return _wish(cancel_job, job_id, data, "canceled")


def retry(job_id: str, data: Path | None) -> int:
    """Try a job again."""
    return _wish(retry_job, job_id, data, "tried again")


def delete(job_id: str, data: Path | None) -> int:
    """Have nothing of a job left."""
    return _wish(delete_job, job_id, data, "deleted")


def list_dead_letters(data: Path | None) -> int:
    """Print what no function would take, oldest first."""
    with errors_as_exit():
        letters = _open(data).events.dead_letters()
    if not letters:
        stdout.print("No dead letters.")
        return 0
    table = Table("number", "function", "event", "deliveries", "last error", box=None, pad_edge=False)
    for letter in letters:
        event_id = letter.headers.get("ce-id", "")
        table.add_row(str(letter.sequence), letter.subscription, event_id, str(letter.attempts), letter.last_error)
    stdout.print(table)
    return 0


def replay_dead_letters(numbers: list[int], data: Path | None) -> int:
    """Deliver dead letters again: those named, or all."""
    with errors_as_exit():
        count = _open(data).events.replay(numbers or None)
    stdout.print(f"{count} delivered again.")
    return 0


def _wish(wish: Callable[[_State, str], object], job_id: str, data: Path | None, done: str) -> int:
    with errors_as_exit():
        wish(_open(data), job_id)
    stdout.print(f"{job_id}: {done}.")
    return 0


def _open(data: Path | None) -> _State:
    database = open_state(data)
    queue = EventQueue(database, {"orchestrate": ORCHESTRATED_EVENTS})
    return _State(SystemClock(), LocalJobStore(database), queue)
