"""``python -m tests.standin_cloud FOLDER PORT``: a local cloud with stand-in workers, to be killed by a test."""

import signal
import sys
import threading
from pathlib import Path

from infra.local.cloud import LocalCloud
from infra.local.runner import LocalRunner
from infra.settings import Settings
from tests.clouds import STANDIN

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    runner = LocalRunner(folder, folder / "logs", worker=STANDIN)
    settings = Settings(data_dir=folder / "cloud", models_dir=folder, lease_s=1.0, reuse_days=0.0)
    with LocalCloud(settings, runner=runner) as cloud:
        print(cloud.url, flush=True)
        stop.wait()
