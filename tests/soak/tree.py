"""The processes of one local cloud: started, measured, killed in part or as a whole, and started again."""

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.emulators import free_port

# What to look for in a child's command line.
CHILDREN = {"transcribe": "transcribe", "diarize": "diarize", "prober": "infra.probe_child"}
# How often each is killed: one worker alone, the cloud without its children, everything at one moment.
WEIGHTS = {"transcribe": 4, "diarize": 4, "prober": 2, "cloud": 1, "tree": 1}
# Children see their standard input end when the cloud dies.
_FOLLOW_S = 10.0
_STOP_S = 30.0


class Tree:
    """A cloud in a process of its own, on one folder and one port for all its lives.

    Args:
        folder: Of its state and its logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.kills: Counter[str] = Counter()
        self.outlived = 0

    def start(self) -> None:
        """Start it; return once it serves."""
        command = [sys.executable, "-m", "tests.soak.cloud", str(self._folder), str(self._port)]
        with (self._folder / "cloud.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the cloud did not start; see {self._folder / 'cloud.log'}")

    @property
    def pid(self) -> int:
        """Of the cloud's own process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_STOP_S)

    def members(self) -> Mapping[str, psutil.Process]:
        """Its live processes by what they are."""
        found: dict[str, psutil.Process] = {}
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(self._process.pid)
                found["cloud"] = root
                for child in root.children():
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        words = child.cmdline()
                        found |= {name: child for name, word in CHILDREN.items() if word in words}
        return found

    def rss_bytes(self) -> Mapping[str, int]:
        """Memory of each member."""
        sizes = {}
        for name, member in self.members().items():
            with suppress(psutil.NoSuchProcess):
                sizes[name] = member.memory_info().rss
        return sizes

    def kill(self, kind: str) -> None:
        """``kill -9`` one member or all; if the cloud itself died, start it again."""
        members = self.members()
        victims = list(members.values()) if kind == "tree" else [members[kind]] if kind in members else []
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        self.kills[kind] += bool(victims)
        if kind in ("cloud", "tree"):
            assert self._process is not None
            self._process.wait()
            _, alive = psutil.wait_procs(list(members.values()), timeout=_FOLLOW_S)
            self.outlived += len(alive)
            self.start()


class Chaos:
    """Kills at moments and of kinds that a seed decides, until it is told to stop.

    Args:
        tree: What it kills.
        seed: Of moments and kinds.
        every_s: Between two kills, on average.
    """

    def __init__(self, tree: Tree, seed: int, every_s: float) -> None:
        self._tree = tree
        self._random = random.Random(seed)
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further kill; what was killed is up again."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._random.uniform(0.0, 2 * self._every_s)):
                (kind,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
                self._tree.kill(kind)
        except (RuntimeError, OSError) as error:  # a cloud that does not start again ends the soak
            self.error = error
