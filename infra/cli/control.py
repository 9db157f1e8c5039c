"""``earwitness cancel``, ``retry``, ``delete`` and ``dead-letters``: wishes, written into the state of a local cloud.

A cloud that is up hears of them within a second; one that is not, when it is started again. Dead letters may be those
of a project on Google Cloud as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Column, Table

from infra.cli.console import errors_as_exit, seen, stdout
from infra.cli.status import open_state
from infra.clock import SystemClock
from infra.local.document_store import LocalDocumentStore
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.pipeline.control import cancel_job, delete_job, retry_job
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.settings import load_settings
from shared.errors import PipelineError
from shared.ports import DeadLetters


@dataclass(frozen=True)
class _State:
    """The stores of a local cloud (:class:`infra.pipeline.outbox.Stores`)."""

    clock: SystemClock
    jobs: LocalJobStore
    documents: LocalDocumentStore
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
        letters = _dead_letters(data).dead_letters()
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
        count = _dead_letters(data).replay(numbers or None)
    stdout.print(f"{count} delivered again.")
    return 0


def _wish(wish: Callable[[_State, str], object], job_id: str, data: Path | None, done: str) -> int:
    with errors_as_exit():
        wish(_open(data), job_id)
    stdout.print(f"{job_id}: {done}.")
    return 0


def _dead_letters(data: Path | None) -> DeadLetters:
    settings = load_settings()
    if settings.cloud == "local":
        return _open(data).events
    if data is not None:
        raise PipelineError("request.invalid", "EARWITNESS_CLOUD is google, and --data is for the local cloud alone.")
    if not settings.project:
        raise PipelineError("request.invalid", "EARWITNESS_PROJECT is not set, and is needed here.")
    from infra.gcp.dead_letters import connect  # a laptop need not have Google's clients

    return connect(settings.project, settings.dead_letters_subscription, settings.events_topic)


def _open(data: Path | None) -> _State:
    database = open_state(data)
    queue = EventQueue(database, {"orchestrate": ORCHESTRATED_EVENTS})
    return _State(SystemClock(), LocalJobStore(database), LocalDocumentStore(database), queue)
