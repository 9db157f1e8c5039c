"""The embedded cloud: one process tree on 127.0.0.1, all state in one folder."""

import importlib.util
import logging
import os
import secrets
import socket
import sys
import threading
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Self

import functions_framework.aio
import httpx
import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from infra import wiring
from infra.callers import BearerToken
from infra.clock import SystemClock
from infra.local.database import Database
from infra.local.dispatcher import Dispatcher
from infra.local.document_store import LocalDocumentStore
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.local.object_server import object_server
from infra.local.object_store import LocalObjectStore
from infra.local.runner import LocalRunner
from infra.local.signing import UrlSigner
from infra.pipeline.following import follower
from infra.pipeline.keys import keep_owner_key, owner_token
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.pipeline.sources import FETCHING_EVENTS
from infra.probe import ContentProber
from infra.report_tokens import ReportTokens
from infra.settings import Settings
from shared.errors import PipelineError
from shared.keys import DEFAULT_TENANT

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
SWEEP_INTERVAL_S = 1.0
# Its budget, and the last job that it took up.
_SWEEP_S = 180.0
_SWITCH_INTERVAL_S = 0.0005
_KEY_BYTES = 32
# Webhook attempts, each a thread that waits.
_ATTEMPTS_AT_ONCE = 64
_OWN_MACHINE = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_FUNCTIONS = ("fetch", "notify", "on_report", "on_upload", "orchestrate", "sweep")


class LocalCloud:
    """Everything Google, AWS and Modal would do, on this machine.

    Args:
        settings: ``data_dir``, ``models_dir``, limits. ``public_url`` is replaced by the real one.
        port: To listen on; 0 for any free one.
        runner: Runs GPU stages; workers may be warming up already. Made here if left out.

    Raises:
        PipelineError: ``service.unavailable`` when the folder or the port is taken.
    """

    def __init__(self, settings: Settings, *, port: int = 0, runner: LocalRunner | None = None) -> None:
        folder = settings.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            reason = error.strerror or "it cannot be made"
            raise PipelineError("service.unavailable", f"The state folder cannot be used: {reason}.") from error
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise PipelineError("service.unavailable", "Another Earwitness is running on this folder.") from error
        try:
            self._socket = _listen(port)
        except PipelineError:
            self._lock.release()
            raise
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        allowed = settings.outbound_allow or _OWN_MACHINE
        self.settings = settings.model_copy(update={"public_url": self.url, "outbound_allow": allowed})
        key = _key(folder / "key")
        clock = SystemClock()
        self._database = Database(folder / "state.sqlite")
        self.queue = EventQueue(
            self._database, {"orchestrate": ORCHESTRATED_EVENTS, "notify": (), "fetch": FETCHING_EVENTS}
        )
        # In a file of their own: however many wait for slow endpoints, nothing else waits for them.
        self._deliveries_database = Database(folder / "deliveries.sqlite")
        self.deliveries = EventQueue(self._deliveries_database, {})
        self.jobs = LocalJobStore(self._database, follower.tell)
        self.documents = LocalDocumentStore(self._database)
        signer = UrlSigner(key)
        self.objects = LocalObjectStore(
            self._database,
            folder / "objects",
            f"{self.url}/storage",
            signer,
            clock,
            self.queue,
            notified={settings.uploads_bucket: "on_upload"},
        )
        self.runner = runner or LocalRunner(settings.models_dir, folder / "logs")
        self._prober = ContentProber(lambda ref: str(self.objects.path(ref)), timeout_s=settings.probe_timeout_s)
        self.owner_token = owner_token(key)
        self.is_new = False
        token = secrets.token_urlsafe(32)
        self.services = wiring.GivenServices(
            settings=self.settings,
            clock=clock,
            jobs=self.jobs,
            documents=self.documents,
            events=self.queue,
            deliveries=self.deliveries,
            objects=self.objects,
            runner=self.runner,
            prober=self._prober,
            callers=BearerToken(token),
            report_tokens=ReportTokens(key),
        )
        self._dispatcher = Dispatcher(self.queue, f"{self.url}/functions", token)
        self._delivering = Dispatcher(
            self.deliveries, f"{self.url}/functions", token, concurrency=_ATTEMPTS_AT_ONCE, function="notify"
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                _app(object_server(self.objects, signer, clock)),
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=2,
                lifespan="on",
            )
        )
        self._serving = threading.Thread(target=self._serve, name="http", daemon=True)
        self._scheduler = _Scheduler(f"{self.url}/functions/sweep/", token)

    def start(self) -> None:
        """Serve, and take up what an earlier run left."""
        # An event passes through several threads of this process; at Python's 5 ms a turn they would wait longer for
        # each other than they work.
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        wiring.install(self.services)
        self._prober.start()
        self.is_new = keep_owner_key(self.services, DEFAULT_TENANT, self.owner_token)
        self.queue.release_leases()
        self.deliveries.release_leases()
        self.objects.remove_orphans()
        self._serving.start()
        self._dispatcher.start()
        self._delivering.start()
        self._scheduler.start()

    def stop(self) -> None:
        """End every thread and process. What is unfinished goes on at the next start."""
        self._scheduler.stop()
        self._dispatcher.stop()
        self._delivering.stop()
        self._server.should_exit = True
        if self._serving.is_alive():
            self._serving.join(timeout=5.0)
        self._dispatcher.close()
        self._delivering.close()
        self.runner.close()
        self._prober.close()
        self._socket.close()
        wiring.install(None)
        self._database.close()
        self._deliveries_database.close()
        self._lock.release()

    def __enter__(self) -> Self:
        """Start; what was started is stopped again if that is interrupted."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


class _Scheduler:
    """Calls ``sweep`` again and again, as Cloud Scheduler does."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._client = httpx.Client(timeout=_SWEEP_S, headers={"authorization": f"Bearer {token}"}, trust_env=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._client.post(self._url)
            except httpx.HTTPError as error:
                log.warning("the sweep was not answered: %s", error)
            self._stopping.wait(SWEEP_INTERVAL_S)


def _app(objects: ASGIApp) -> Starlette:
    # A web page elsewhere must not reach this cloud by a name of its own that points here.
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(
        routes=[
            Mount("/storage", objects),
            *(Mount(f"/functions/{name}", _function(name)) for name in _FUNCTIONS),
            Mount("/", _function("api")),
        ],
        middleware=[trusted],
    )


def _function(name: str) -> ASGIApp:
    """A function hosted by functions-framework, from its source, as in the cloud."""
    package = importlib.util.find_spec("functions")
    if package is None or not package.submodule_search_locations:
        raise PipelineError("internal", "The functions are not installed.")
    source = Path(package.submodule_search_locations[0]) / name / "main.py"
    app: ASGIApp = functions_framework.aio.create_asgi_app(  # type: ignore[no-untyped-call]
        target=name, source=str(source)
    )
    return app


def _listen(port: int) -> socket.socket:
    # The protocol must be named: asyncio turns Nagle's algorithm off only where it is, and with it on each
    # small answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PipelineError("service.unavailable", f"Port {port} is in use.", port=port) from error
    listener.listen(128)
    return listener


def _key(path: Path) -> bytes:
    """The secret of this local cloud, made at its first start."""
    if not path.exists() or path.stat().st_size != _KEY_BYTES:
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        with draft.open("wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path.read_bytes()
