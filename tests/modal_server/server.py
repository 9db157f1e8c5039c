"""The server: its thread, its sockets, and what a test does with it."""

import asyncio
import importlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import grpclib.server
import modal
from grpclib.protocol import H2Protocol
from modal_proto import api_pb2 as pb

from tests.modal_server import blobs, calls, containers, deploying, volumes  # noqa: F401 - they register what they answer
from tests.modal_server.rpc import TOKEN_ID, TOKEN_SECRET, Fault, Faults, service
from tests.modal_server.state import State

T = TypeVar("T")
_START_S = 10.0


class _Listener(grpclib.server.Server):
    """A server that knows its connections: closing it is to end them, which grpclib's does not."""

    def __init__(self, handlers: Any) -> None:
        super().__init__(handlers)
        self.connections: list[H2Protocol] = []

    def _protocol_factory(self) -> H2Protocol:
        self.connections.append(super()._protocol_factory())
        return self.connections[-1]


class ModalServer:
    """A running server on 127.0.0.1.

    Args:
        folder: Where it keeps files; made if need be.
        port: To listen on; 0 for any free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The path of a socket may have about a hundred characters, and a test's folder often has more.
        self._sockets = tempfile.TemporaryDirectory(prefix="modal-")
        self.state = State(folder, Path(self._sockets.name))
        self._faults = Faults()
        self._port = port
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="modal-server", daemon=True)

    def start(self) -> None:
        """Serve."""
        self._thread.start()
        self.url = self._ready.result(_START_S)

    def stop(self) -> None:
        """End every container, and the server."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._sockets.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a client in another process uses this server."""
        return {"MODAL_SERVER_URL": self.url, "MODAL_TOKEN_ID": TOKEN_ID, "MODAL_TOKEN_SECRET": TOKEN_SECRET}

    def client(self) -> modal.Client:
        """A client in this process."""
        return modal_client(self.url)

    def deploy(self, module: ModuleType, environment: str | None = None) -> None:
        """Deploy every app of a module, as ``modal deploy`` would."""
        # A second time its images and volumes would be those of an earlier server.
        importlib.reload(module)
        client = self.client()
        for app in [value for value in vars(module).values() if isinstance(value, modal.App)]:
            app.deploy(client=client, environment_name=environment)

    def volume_folder(self, name: str) -> Path:
        """Where a volume's files are."""
        return self.state.volume_folder(name)

    def order(self, name: str, fault: Fault, times: int = 1) -> None:
        """Let the next requests of a kind by clients go wrong; what was ordered happens in order, each once."""
        self._here(lambda: self._faults.order(name, fault, times))

    def shorten_timeouts(self, timeout_s: float | None) -> None:
        """Give calls that start from now on less time than their function was deployed with."""
        self._here(lambda: setattr(self.state, "timeout_s", timeout_s))

    def expire(self, call_id: str) -> None:
        """Throw a call's result away, as after a week."""
        self._here(lambda: setattr(self.state.calls[call_id], "expired", True))

    def answer(self, call_id: str, result: pb.GenericResult, data_format: int) -> None:
        """End a call with a result that no container has given."""
        self._here(lambda: self.state.calls[call_id].finish(result, data_format))

    def call_ids(self) -> list[str]:
        """Every call that was made."""
        return self._here(lambda: list(self.state.calls))

    def received(self, name: str | None = None) -> list[Any]:
        """Requests of clients, in order: the messages of one kind, or the names of all."""
        kinds = self._here(lambda: list(self.state.received))
        return [kind if name is None else message for kind, message in kinds if name in (None, kind)]

    def connections(self) -> int:
        """How many connections clients have made."""
        return self._here(lambda: len(self._connections))

    def container_logs(self) -> str:
        """What containers have printed."""
        paths = sorted((self.state.folder / "containers").glob("*/log.txt"), key=lambda path: path.stat().st_mtime)
        return "\n".join(path.read_text(errors="replace") for path in paths)

    def _here(self, change: Callable[[], T]) -> T:
        """Do something in the server's thread, where all state is touched."""

        async def run() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_START_S)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            blob_server = await blobs.serve_blobs(self.state)
            server = _Listener([service(self.state, self._faults)])
            self._connections = server.connections
            await server.start("127.0.0.1", self._port)
            assert server._server is not None and server._server.sockets
            self._ready.set_result(f"http://127.0.0.1:{server._server.sockets[0].getsockname()[1]}")
        except OSError as error:
            self._ready.set_exception(error)
            return
        await self._stopping.wait()
        await containers.end_all(self.state)
        server.close()
        for connection in server.connections:
            connection.connection.close()
        await server.wait_closed()
        await blob_server.cleanup()


@contextmanager
def modal_server(folder: Path, port: int = 0) -> Iterator[ModalServer]:
    """A server, until the end of the block."""
    server = ModalServer(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def modal_client(url: str, token_secret: str = TOKEN_SECRET) -> modal.Client:
    """A client of this process for a server.

    Modal's client reads the server's address from the environment when it is made; only then is it there.
    """
    before = os.environ.get("MODAL_SERVER_URL")
    os.environ["MODAL_SERVER_URL"] = url
    try:
        return modal.Client.from_credentials(TOKEN_ID, token_secret)
    finally:
        os.environ.pop("MODAL_SERVER_URL")
        if before is not None:
            os.environ["MODAL_SERVER_URL"] = before
