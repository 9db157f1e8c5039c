"""Importing this takes one job to its end: a process forked from here has loaded all that a life needs."""

import tempfile
import threading
from pathlib import Path

from tests.small_cloud import live
from tests.ways import Way

with tempfile.TemporaryDirectory() as _folder:
    live(Path(_folder), Way(resumable=True), [].append)
assert threading.active_count() == 1, "a fork would lose these threads"
