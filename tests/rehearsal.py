"""Importing this takes one job to its end: a process forked from here has loaded all that a life needs."""

import tempfile
import threading
from pathlib import Path

from tests.faults import Faults
from tests.small_cloud import SmallCloud, Way

with tempfile.TemporaryDirectory() as _folder:
    _cloud = SmallCloud(Path(_folder), Way(resumable=True), Faults(Path(_folder) / "points.txt"))
    _cloud.run()
    _cloud.close()
assert threading.active_count() == 1, "a fork would lose these threads"
