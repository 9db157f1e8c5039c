"""The services of this process: what adapters a function works with. Only here are a real cloud's adapters built."""

import functools
import threading
from dataclasses import dataclass
from typing import Protocol, TypeVar

from infra.clock import SystemClock
from infra.observability import observe
from infra.pipeline.outbox import Stores
from infra.report_tokens import ReportTokens
from infra.settings import Settings, load_settings
from shared.errors import PipelineError
from shared.ports import (
    Callers,
    Clock,
    DeliveryQueue,
    DocumentStore,
    EventBus,
    JobStore,
    ObjectStore,
    Prober,
    StageRunner,
)

T = TypeVar("T")

# A signed URL that only this process' own child reads, at once.
_PROBE_URL_EXPIRES_S = 900.0


class Services(Stores, Protocol):
    """Everything a function works with."""

    @property
    def settings(self) -> Settings:
        """Of this deployment."""
        ...

    @property
    def deliveries(self) -> DeliveryQueue:
        """Webhook deliveries that wait for an attempt."""
        ...

    @property
    def objects(self) -> ObjectStore:
        """Recordings and artifacts."""
        ...

    @property
    def runner(self) -> StageRunner:
        """Where GPU stages run."""
        ...

    @property
    def prober(self) -> Prober:
        """Looks at uploads."""
        ...

    @property
    def callers(self) -> Callers:
        """Who may call what is not public."""
        ...

    @property
    def report_tokens(self) -> ReportTokens:
        """Proofs of GPU jobs."""
        ...


@dataclass(frozen=True)
class GivenServices:
    """Services that someone else has built: the local cloud, or a test."""

    settings: Settings
    clock: Clock
    jobs: JobStore
    documents: DocumentStore
    events: EventBus
    deliveries: DeliveryQueue
    objects: ObjectStore
    runner: StageRunner
    prober: Prober
    callers: Callers
    report_tokens: ReportTokens


class GoogleServices:
    """Services on Google Cloud and Modal, each built when it is first asked for.

    So a function imports and connects only what it uses, and a deployment need only set what its function needs.

    Args:
        settings: Of this deployment.

    Raises:
        PipelineError: ``internal`` from a property whose settings are missing.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()

    @functools.cached_property
    def jobs(self) -> JobStore:
        """Firestore."""
        from infra.gcp.job_store import connect

        return connect(self._project, self.settings.firestore_database)

    @functools.cached_property
    def documents(self) -> DocumentStore:
        """Firestore."""
        from infra.gcp.document_store import connect

        return connect(self._project, self.settings.firestore_database)

    @functools.cached_property
    def events(self) -> EventBus:
        """Pub/Sub."""
        from infra.gcp.event_bus import connect

        return connect(self._project, self.settings.events_topic)

    @functools.cached_property
    def deliveries(self) -> DeliveryQueue:
        """Pub/Sub."""
        from infra.gcp.delivery_queue import connect

        return connect(self._project, self.settings.deliveries_topic)

    @functools.cached_property
    def objects(self) -> ObjectStore:
        """Cloud Storage."""
        from infra.gcp.object_store import connect

        return connect(self._project)

    @functools.cached_property
    def runner(self) -> StageRunner:
        """Modal."""
        from infra.modal.runner import ModalRunner

        return ModalRunner(environment=self.settings.modal_environment, timeout_s=self.settings.modal_timeout_s)

    @functools.cached_property
    def prober(self) -> Prober:
        """A child process that reads ranges of a signed URL."""
        from infra.probe import ContentProber

        return ContentProber(
            lambda ref: self.objects.sign_download(ref, expires_s=_PROBE_URL_EXPIRES_S),
            timeout_s=self.settings.probe_timeout_s,
        )

    @functools.cached_property
    def callers(self) -> Callers:
        """Google's identity tokens, or whatever the platform in front has checked."""
        if self.settings.authenticate == "platform":
            from infra.callers import PlatformChecks

            return PlatformChecks()
        from infra.gcp.push_auth import PushAuthentication

        return PushAuthentication(
            self._needed("audience", self.settings.audience), self._needed("callers", self.settings.callers)
        )

    @functools.cached_property
    def report_tokens(self) -> ReportTokens:
        """Keys from the deployment's secret."""
        keys = self._needed("report_keys", self.settings.report_keys)
        return ReportTokens(*(key.get_secret_value().encode() for key in keys))

    @property
    def _project(self) -> str:
        return self._needed("project", self.settings.project)

    def _needed(self, name: str, value: T) -> T:
        if not value:
            raise PipelineError("internal", f"EARWITNESS_{name.upper()} is not set, and is needed here.")
        return value


_lock = threading.Lock()
_installed: Services | None = None


def install(services: Services | None) -> None:
    """Give this process its services: the local cloud's, or a test's. ``None`` takes them away."""
    global _installed
    _installed = services


def services() -> Services:
    """The services of this process: those installed, or else a real cloud's, from settings.

    Raises:
        PipelineError: ``internal`` when none are installed and the settings name no cloud to connect to;
            ``request.invalid`` for a setting that is wrong.
    """
    global _installed
    if _installed is None:
        with _lock:
            if _installed is None:
                settings = load_settings()
                if settings.cloud == "local":
                    raise PipelineError("internal", "No services are installed in this process.")
                observe(settings)
                _installed = GoogleServices(settings)
    return _installed
