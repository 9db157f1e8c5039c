"""One soak: a cloud, its load, its chaos, and what came of it."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.stages import STAGES
from tests.clouds import token_of
from tests.media import encode, tone
from tests.soak.findings import Findings, look
from tests.soak.load import Load
from tests.soak.tree import CHILDREN, Chaos, Tree

EVERY_S = 1.5
# The share of the jobs after which processes are warm, and their memory at the start is measured.
_WARM_SHARE = 0.05
_SAMPLE_S = 0.5
_STALL_S = 60.0

Memory = Mapping[str, int]


@dataclass(frozen=True)
class Soak:
    """What one soak showed.

    Attributes:
        took_s: From the first request of an app to the end of the last job.
        memory: Bytes of each process, when they were warm and at the end.
        peak_bytes: The most that all of them had together.
    """

    jobs: int
    took_s: float
    findings: Findings
    failures: list[str]
    kills: Mapping[str, int]
    outlived: int
    retries: int
    memory: tuple[Memory, Memory]
    peak_bytes: int

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing done twice."""
        found = self.findings
        wrong = found.lost or found.twice or found.dead_letters or found.depth or self.failures or self.outlived
        # A stage is given up when it was killed in each of its attempts: more of them than kills can account for are a
        # fault of ours.
        accounted = len(found.given_up) * STAGES["transcribe"].max_attempts <= sum(self.kills.values())
        return not wrong and accounted and len(found.latencies_s) + len(found.given_up) == self.jobs


def soak(folder: Path, jobs: int, *, seed: int = 1, every_s: float | None = EVERY_S) -> Soak:
    """Run so many jobs.

    Args:
        folder: For state and logs; empty.
        jobs: Recordings.
        seed: Of what is killed when.
        every_s: Between two kills on average; ``None`` for none.
    """
    tree = Tree(folder)
    tree.start()
    load = Load(tree.url, token_of(folder / "cloud"), folder / "cloud" / "state.sqlite", jobs, encode("wav", tone(0.2)))
    chaos = Chaos(tree, seed, every_s) if every_s is not None else None
    meter = _Meter(tree, load, round(jobs * _WARM_SHARE))
    meter.start()
    if chaos:
        chaos.start()
    try:
        took_s = load.run(stall_s=_STALL_S, is_over=lambda: bool(chaos and chaos.error))
    finally:
        if chaos:
            chaos.stop()
        load.settle(within_s=_STALL_S)
        meter.stop()
        at_end = tree.rss_bytes()
        tree.stop()
    return Soak(
        jobs=jobs,
        took_s=took_s,
        findings=look(folder / "cloud", load.accepted),
        failures=load.failures + ([repr(chaos.error)] if chaos and chaos.error else []),
        kills=dict(tree.kills),
        outlived=tree.outlived,
        retries=load.retries,
        memory=(meter.warm, at_end),
        peak_bytes=meter.peak_bytes,
    )


class _Meter:
    """Measures memory now and then."""

    def __init__(self, tree: Tree, load: Load, warm_after: int) -> None:
        self._tree = tree
        self._load = load
        self._warm_after = warm_after
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter")
        self.warm: Memory = {}
        self.peak_bytes = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_SAMPLE_S):
            sizes = self._tree.rss_bytes()
            self.peak_bytes = max(self.peak_bytes, sum(sizes.values()))
            if not self.warm and self._load.ended >= self._warm_after and len(sizes) > len(CHILDREN):
                self.warm = sizes
