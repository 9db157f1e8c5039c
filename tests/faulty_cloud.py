"""``python -m tests.faulty_cloud FOLDER PORT PASSED [POINT]``: the whole local cloud, killed with its tree at a point.

The real cloud with its threads, sockets and processes; a stand-in only where a model would be. The effects that are
watched are those of its own adapters. Its address is printed once it serves.
"""

import signal
import sys
import threading
from pathlib import Path

from infra.local.cloud import LocalCloud
from infra.local.runner import LocalRunner
from infra.settings import Settings
from tests.audit import audit
from tests.clouds import STANDIN
from tests.faults import Fault, Faults, lead_a_group, written_to

if __name__ == "__main__":
    folder, port, passed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    lead_a_group()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    runner = LocalRunner(folder, folder / "logs", worker=STANDIN)
    settings = Settings(data_dir=folder / "cloud", models_dir=folder, lease_s=1.0, upload_late_s=1.0, reuse_days=0.0)
    cloud = LocalCloud(settings, port=port, runner=runner)
    audit(folder / "cloud" / "state.sqlite")
    faults = Faults(written_to(folder / passed), Fault(sys.argv[4]) if len(sys.argv) > 4 else None)
    faults.watch_commits(cloud._database)
    faults.watch(jobs=cloud.jobs, events=cloud.queue, queue=cloud.queue, objects=cloud.objects, runner=cloud.runner)
    with cloud:
        print(cloud.url, flush=True)
        stop.wait()
