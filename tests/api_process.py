"""The API in a process of its own, over a folder that others use too: ``python -m tests.api_process FOLDER``.

It prints its port, and serves until its input is closed.
"""

import socket
import sys
import threading
from pathlib import Path

import uvicorn

from infra import wiring
from infra.api.app import create_app
from infra.pipeline.keys import keep_owner_key, owner_token
from shared.keys import DEFAULT_TENANT
from tests.services import told_services

TOKEN = owner_token(b"of two processes")


def main(folder: Path) -> None:
    """Serve."""
    with told_services(folder) as services, socket.create_server(("127.0.0.1", 0)) as listener:
        wiring.install(services)
        keep_owner_key(services, DEFAULT_TENANT, TOKEN)
        server = uvicorn.Server(uvicorn.Config(create_app(), log_level="warning", access_log=False))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        print(listener.getsockname()[1], flush=True)
        sys.stdin.read()
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
