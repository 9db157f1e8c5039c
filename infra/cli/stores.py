"""The stores that a command works on: a local cloud's state, or a project on Google Cloud."""

from dataclasses import dataclass
from pathlib import Path

from infra.cli.status import open_state
from infra.clock import SystemClock
from infra.local.document_store import LocalDocumentStore
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.pipeline.outbox import Stores
from infra.pipeline.sources import FETCHING_EVENTS
from infra.settings import Settings, load_settings
from shared.errors import PipelineError
from shared.ports import DeadLetters


@dataclass(frozen=True)
class LocalStores:
    """The stores of a local cloud (:class:`infra.pipeline.outbox.Stores`)."""

    clock: SystemClock
    jobs: LocalJobStore
    documents: LocalDocumentStore
    events: EventQueue


def open_stores(data: Path | None) -> Stores:
    """The stores of the cloud that ``EARWITNESS_CLOUD`` names.

    Raises:
        PipelineError: ``request.invalid`` when there is no such state, or it is not clear which is meant.
    """
    settings = load_settings()
    if settings.cloud == "local":
        return _open_local(data)
    _check_google(settings, data)
    from infra.wiring import GoogleServices

    return GoogleServices(settings)


def open_dead_letters(data: Path | None) -> DeadLetters:
    """What no function of that cloud would take.

    Raises:
        PipelineError: As :func:`open_stores`.
    """
    settings = load_settings()
    if settings.cloud == "local":
        return _open_local(data).events
    _check_google(settings, data)
    from infra.gcp.dead_letters import connect  # a laptop need not have Google's clients

    return connect(settings.project, settings.dead_letters_subscription, settings.events_topic)


def _check_google(settings: Settings, data: Path | None) -> None:
    if data is not None:
        raise PipelineError("request.invalid", "EARWITNESS_CLOUD is google, and --data is for the local cloud alone.")
    if not settings.project:
        raise PipelineError("request.invalid", "EARWITNESS_PROJECT is not set, and is needed here.")


def _open_local(data: Path | None) -> LocalStores:
    database = open_state(data)
    queue = EventQueue(database, {"orchestrate": ORCHESTRATED_EVENTS, "notify": (), "fetch": FETCHING_EVENTS})
    return LocalStores(SystemClock(), LocalJobStore(database), LocalDocumentStore(database), queue)
