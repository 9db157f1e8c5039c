"""A function hosted by functions-framework alone, on services that a test chooses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import functions_framework.aio
import uvicorn

from infra import wiring
from infra.wiring import Services
from tests.clouds import wait_for

FUNCTIONS = Path(__file__).parents[1] / "functions"


@contextmanager
def served(name: str, services: Services) -> Iterator[str]:
    """The function's address, while it is served in this process."""
    app = functions_framework.aio.create_asgi_app(target=name, source=str(FUNCTIONS / name / "main.py"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run)
    wiring.install(services)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        wiring.install(None)
