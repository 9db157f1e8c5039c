"""``python -m tests.modal_server FOLDER [PORT]``: serve until stopped; the first line are variables for clients."""

import json
import signal
import sys
import threading
from pathlib import Path

from tests.modal_server import modal_server

if __name__ == "__main__":
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with modal_server(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as server:
        print(json.dumps(server.environment), flush=True)
        stop.wait()
