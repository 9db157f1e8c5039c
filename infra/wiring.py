"""The services of this process: what adapters a function works with."""

from dataclasses import dataclass

from infra.report_tokens import ReportTokens
from infra.settings import Settings
from shared.errors import PipelineError
from shared.ports import Clock, EventBus, JobStore, ObjectStore, Prober, StageRunner


@dataclass(frozen=True)
class Services:
    """Everything a function works with."""

    settings: Settings
    clock: Clock
    jobs: JobStore
    events: EventBus
    objects: ObjectStore
    runner: StageRunner
    prober: Prober
    report_tokens: ReportTokens


_installed: Services | None = None


def install(services: Services | None) -> None:
    """Give this process its services: the local cloud's, or a test's. ``None`` takes them away."""
    global _installed
    _installed = services


def services() -> Services:
    """The services of this process.

    Raises:
        PipelineError: ``internal`` when none are installed.
    """
    if _installed is None:
        raise PipelineError("internal", "No services are installed in this process.")
    return _installed
