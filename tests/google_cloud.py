"""Google Cloud as far as it runs here: emulators, and every function from its bundle in processes of its own.

Each function is what ``earwitness bundle`` writes, unpacked beside a virtual environment that holds what its
``requirements.txt`` names and nothing else, and served by the real ``functions-framework`` command. Uploads reach
``on_upload`` as notifications of fake-gcs-server, events reach ``orchestrate`` and ``notify`` as pushes of the Pub/Sub
emulator.
"""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from google.cloud import pubsub_v1, storage

from infra.bundle import CONTENTS, write_bundles
from infra.pipeline.keys import create_key
from infra.settings import load_settings
from infra.wiring import GoogleServices
from shared.events import Event
from shared.keys import DEFAULT_TENANT
from tests.clouds import Phone, wait_for
from tests.emulators import Emulator, firestore_emulator, free_port, gcs_emulator, pubsub_emulator

PROJECT = "earwitness-test"
UPLOADS, RESULTS = "earwitness-uploads", "earwitness-results"
EVENTS, UPLOADED, DELIVERIES = "earwitness-events", "earwitness-uploaded", "earwitness-deliveries"
SWEEP_INTERVAL_S = 1.0
READY_S = 60.0


@dataclass(frozen=True)
class UnpackedFunction:
    """A function's bundle, unpacked, and its own interpreter."""

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"


def unpack_functions(folder: Path) -> Mapping[str, UnpackedFunction]:
    """Write all bundles and unpack each into a clean virtual environment of its own."""
    uv = Path(sys.executable).with_name("uv")
    functions = {}
    for bundle in write_bundles(folder / "bundles"):
        function = UnpackedFunction(bundle.name, folder / bundle.name)
        with zipfile.ZipFile(bundle.path) as archive:
            archive.extractall(function.folder)
        python = ["--python", sys.executable]
        subprocess.run([uv, "venv", "--quiet", *python, function.folder / ".venv"], check=True)
        requirements = function.folder / "requirements.txt"
        install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", function.python, requirements]
        subprocess.run(install, check=True, timeout=300)
        functions[bundle.name] = function
    return functions


@dataclass
class FunctionProcess:
    """A function that is being served, and can be killed and served again."""

    function: UnpackedFunction
    environment: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [self.function.python.with_name("functions-framework"), "--target", self.function.name]
        command += ["--source", "main.py", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.function.folder,
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """``kill -9`` of the server, its worker, and whatever they started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/robots.txt", trust_env=False).status_code == 404
        except httpx.TransportError:
            return False


@dataclass
class GoogleCloud:
    """A running deployment."""

    functions: dict[str, FunctionProcess]
    emulators: dict[str, str]
    token: str
    _audit: "_Audit"
    sweeps: list[dict[str, int]] = field(default_factory=list)

    @property
    def phone(self) -> Phone:
        return Phone(self.functions["api"].url, self.token)

    def sweep(self) -> None:
        """What Cloud Scheduler does once a minute; here oftener."""
        try:
            answer = httpx.post(self.functions["sweep"].url, timeout=30.0, trust_env=False)
            if answer.status_code == 200:
                self.sweeps.append(answer.json())
        except httpx.HTTPError:
            pass  # it was killed meanwhile; the next one follows

    def events(self, job_id: str | None = None) -> Sequence[Event]:
        """Every event that a subscriber of the topic has seen so far, each delivery."""
        return [event for event in self._audit.events if job_id in (None, event.jobid)]

    def artifacts(self) -> Sequence[str]:
        """Names of all objects in the results bucket."""
        client = _storage(self.emulators["STORAGE_EMULATOR_HOST"])
        return sorted(blob.name for blob in client.list_blobs(RESULTS))

    def artifact(self, name: str) -> bytes:
        """The content of an object in the results bucket."""
        content: bytes = (
            _storage(self.emulators["STORAGE_EMULATOR_HOST"]).bucket(RESULTS).blob(name).download_as_bytes()
        )
        return content


@contextmanager
def google_cloud(
    functions: Mapping[str, UnpackedFunction],
    folder: Path,
    runner: Mapping[str, str],
    *,
    is_swept: bool = True,
    **settings: str,
) -> Iterator[GoogleCloud]:
    """Serve all functions on fresh emulators.

    Args:
        functions: Of :func:`unpack_functions`.
        folder: For logs.
        runner: Environment that leads Modal's client to where GPU stages run.
        is_swept: Whether ``sweep`` is called again and again.
        settings: More ``EARWITNESS_*`` settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pubsub = stack.enter_context(pubsub_emulator())
        firestore = stack.enter_context(firestore_emulator())
        gcs = stack.enter_context(gcs_emulator(pubsub, f"{PROJECT}/{UPLOADED}"))
        emulators = {
            "PUBSUB_EMULATOR_HOST": pubsub.host,
            "FIRESTORE_EMULATOR_HOST": firestore.host,
            "STORAGE_EMULATOR_HOST": gcs.url,
        }
        ports = {name: free_port() for name in CONTENTS}
        environment = _environment(emulators, ports, runner, settings)
        served = {
            name: FunctionProcess(function, environment, ports[name], folder / f"{name}.log")
            for name, function in functions.items()
        }
        for bucket in (UPLOADS, RESULTS):
            _storage(gcs.url).create_bucket(bucket)
        _subscribe(pubsub, served)
        audit = stack.enter_context(_Audit(pubsub))
        for function in served.values():
            stack.callback(function.kill)
            function.start()
        for function in served.values():
            wait_for(function.answers, timeout_s=READY_S, every_s=0.05)
        cloud = GoogleCloud(served, emulators, _key(firestore), audit)
        if is_swept:
            stack.enter_context(_scheduled(cloud))
        yield cloud


def _environment(
    emulators: Mapping[str, str], ports: Mapping[str, int], runner: Mapping[str, str], settings: Mapping[str, str]
) -> Mapping[str, str]:
    own = {
        "CLOUD": "google",
        "PROJECT": PROJECT,
        "UPLOADS_BUCKET": UPLOADS,
        "RESULTS_BUCKET": RESULTS,
        "EVENTS_TOPIC": EVENTS,
        "DELIVERIES_TOPIC": DELIVERIES,
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "PUBLIC_URL": f"http://127.0.0.1:{ports['api']}",
        "REPORT_URL": f"http://127.0.0.1:{ports['on_report']}",
        "REPORT_KEYS": "a key for tests alone that is long enough",
        "REUSE_DAYS": "0",  # each job is to do its work
        "AUTHENTICATE": "platform",  # the emulators send no identity tokens
        **{name.upper(): value for name, value in settings.items()},
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, **emulators, **runner, **{f"EARWITNESS_{name}": value for name, value in own.items()}}


def _subscribe(pubsub: Emulator, served: Mapping[str, FunctionProcess]) -> None:
    with _emulated(pubsub):
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    for topic in (UPLOADED, EVENTS, DELIVERIES):
        publisher.create_topic(name=publisher.topic_path(PROJECT, topic))
    for topic, name, function in (
        (UPLOADED, "on_upload", "on_upload"),
        (EVENTS, "orchestrate", "orchestrate"),
        (EVENTS, "notify", "notify"),
        (EVENTS, "fetch", "fetch"),
        (DELIVERIES, "deliveries", "notify"),
    ):
        path = publisher.topic_path(PROJECT, topic)
        subscriber.create_subscription(
            request={
                "name": subscriber.subscription_path(PROJECT, name),
                "topic": path,
                "push_config": {"push_endpoint": served[function].url},
                "enable_message_ordering": topic != UPLOADED,
                "ack_deadline_seconds": 60,
                "retry_policy": {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 10}},
            }
        )
    subscriber.close()


def _key(firestore: Emulator) -> str:
    """The token of a new API key."""
    with _emulated(firestore, "FIRESTORE_EMULATOR_HOST"):
        services = GoogleServices(load_settings(project=PROJECT))
        return create_key(services, DEFAULT_TENANT, "tests").token


class _Audit:
    """A subscriber of the events topic that keeps every message it gets."""

    def __init__(self, pubsub: Emulator) -> None:
        self.events: list[Event] = []
        with _emulated(pubsub):
            self._subscriber = pubsub_v1.SubscriberClient()
        self._path = self._subscriber.subscription_path(PROJECT, "audit")
        topic = self._subscriber.topic_path(PROJECT, EVENTS)
        self._subscriber.create_subscription(name=self._path, topic=topic)

    def __enter__(self) -> "_Audit":
        self._pulling = self._subscriber.subscribe(self._path, self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._pulling.cancel()
        self._pulling.result(30.0)  # until its threads have ended: they use the channel that is closed next
        self._subscriber.close()

    def _keep(self, message: pubsub_v1.subscriber.message.Message) -> None:
        self.events.append(Event.from_json(message.data))
        message.ack()


@contextmanager
def _scheduled(cloud: GoogleCloud) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(SWEEP_INTERVAL_S):
            cloud.sweep()

    thread = threading.Thread(target=run, name="scheduler", daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(30)


@contextmanager
def _emulated(emulator: Emulator, variable: str = "PUBSUB_EMULATOR_HOST") -> Iterator[None]:
    """While clients are built: they read the variable once."""
    before = os.environ.get(variable)
    os.environ[variable] = emulator.host
    yield
    del os.environ[variable]
    if before is not None:
        os.environ[variable] = before


def _storage(url: str) -> storage.Client:
    from google.auth.credentials import AnonymousCredentials

    return storage.Client(PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
