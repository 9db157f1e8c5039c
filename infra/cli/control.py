"""``earwitness cancel``, ``retry``, ``delete`` and ``dead-letters``: wishes, written into the state of a cloud.

A local cloud that is up hears of them within a second; one that is not, when it is started again. With
``EARWITNESS_CLOUD=google`` they are of the project's.
"""

from collections.abc import Callable
from pathlib import Path

from rich.table import Column, Table

from infra.cli.console import errors_as_exit, seen, stdout
from infra.cli.stores import open_dead_letters, open_stores
from infra.pipeline.audit import OWNER
from infra.pipeline.control import cancel_job, delete_job, retry_job


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
        letters = open_dead_letters(data).dead_letters()
    if not letters:
        stdout.print("No dead letters.")
        return 0
    number = Column("number", min_width=max(len(letter.id) for letter in letters))  # to be copied: never shortened
    table = Table(number, "function", "event", "deliveries", "last error", box=None, pad_edge=False)
    for letter in letters:
        row = (letter.id, letter.subscription, letter.event_id, str(letter.attempts), letter.last_error)
        table.add_row(*map(seen, row))
    stdout.print(table)
    return 0


def replay_dead_letters(numbers: list[str], data: Path | None) -> int:
    """Deliver dead letters again: those named, or all."""
    with errors_as_exit():
        count = open_dead_letters(data).replay(numbers or None)
    stdout.print(f"{count} delivered again.")
    return 0


def _wish(wish: Callable[..., object], job_id: str, data: Path | None, done: str) -> int:
    with errors_as_exit():
        wish(open_stores(data), job_id, actor=OWNER)
    stdout.print(f"{job_id}: {done}.")
    return 0
