"""A pass: hostile files through the real prober and, where it accepts them, through the decoder of the GPU jobs."""

import contextlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.child import Child, ChildError
from infra.probe import ContentProber
from shared.errors import CATALOGUE, PipelineError
from shared.media import MediaLimits, check_duration
from tests.hostile.hostile import ACCEPTED, Hostile
from tests.hostile.watching import BAIT_RATE_HZ, Baited, listing, peak_bytes

PROBE_TIMEOUT_S = 5.0
DECODE_TIMEOUT_S = 20.0
# What takes too long is not tried again; what crashes its child is, in one that has to start.
PROBE_BOUND_S = PROBE_TIMEOUT_S + 2.0
MEMORY_BYTES = 1 << 30
# Short, so that bombs of silence are known for what they are in seconds.
DECODE_LIMIT_S = 300.0
# One or two plain sentences for the person who uploaded: no path, no name of code.
SENTENCE = re.compile(r"[A-Z][^_/\\]+\.")


@dataclass(frozen=True)
class Verdict:
    """What became of one file.

    Attributes:
        outcome: A code, or that it was accepted.
        message: With a code.
        took_s: Probing.
        rate_hz: Of what was accepted.
        decoded: How decoding ended; ``None`` where it was not accepted.
    """

    kind: str
    name: str
    permitted: frozenset[str]
    outcome: str
    message: str
    took_s: float
    rate_hz: int = 0
    decoded: str | None = None


@dataclass
class Passed:
    """What a pass came to.

    Attributes:
        crashes: Files after which the prober's process was another.
        changed: Paths that appeared, vanished or changed around the files.
        callers: Of the bait's server.
        probe_peak_bytes: The most memory of the prober's process.
        decode_peak_bytes: Of the decoder's.
    """

    memory_bytes: int
    verdicts: list[Verdict] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    callers: Sequence[str] = ()
    took_s: float = 0.0
    probe_peak_bytes: int = 0
    decode_peak_bytes: int = 0

    def faults(self) -> dict[str, list[str]]:
        """What must not have happened, by what it breaks."""
        of = [(f"{verdict.kind}: {verdict.name}", verdict) for verdict in self.verdicts]
        return {
            "outcome": [f"{name}: {one.outcome}" for name, one in of if one.outcome not in one.permitted],
            "code": [
                f"{name}: {code}"
                for name, one in of
                for code in (one.outcome, one.decoded)
                if code not in (None, ACCEPTED) and not (code in CATALOGUE and code.startswith("media."))
            ],
            "sentence": [f"{name}: {one.message}" for name, one in of if not SENTENCE.fullmatch(one.message or "Yes.")],
            "time": [f"{name}: {one.took_s:.1f} s" for name, one in of if one.took_s > PROBE_BOUND_S],
            "memory": [f"{self.probe_peak_bytes >> 20} MiB"] if self.probe_peak_bytes > self.memory_bytes else [],
            "crash": self.crashes,
            "bait": [*self.callers, *(name for name, one in of if one.rate_hz == BAIT_RATE_HZ)],
            "written": self.changed,
        }

    def table(self) -> list[str]:
        """Files by kind and outcome, in lines."""
        outcomes = sorted(
            {verdict.outcome for verdict in self.verdicts} | {verdict.decoded or ACCEPTED for verdict in self.verdicts}
        )
        counts: dict[str, Counter[str]] = {}
        for verdict in self.verdicts:
            row = counts.setdefault(verdict.kind, Counter())
            row.update([verdict.outcome, *([f"decoded {verdict.decoded}"] if verdict.decoded else [])])
        probed = [name for name in outcomes if any(row[name] for row in counts.values())]
        heard = [name for name in outcomes if any(row[f"decoded {name}"] for row in counts.values())]
        names = [
            *(name.removeprefix("media.") for name in probed),
            *(f"> {name.removeprefix('media.')}" for name in heard),
        ]
        lines = [f"{'kind':24}" + "".join(f"{name:>13}" for name in names)]
        for kind, row in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
            cells = [row[name] for name in probed] + [row[f"decoded {name}"] for name in heard]
            lines.append(f"{kind:24}" + "".join(f"{cell or '':>13}" for cell in cells))
        slowest = max(self.verdicts, key=lambda verdict: verdict.took_s)
        lines.append(
            f"{len(self.verdicts)} files in {self.took_s:.1f} s; "
            f"slowest probe {slowest.took_s:.2f} s ({slowest.name}); "
            f"peak memory: prober {self.probe_peak_bytes >> 20} MiB, decoder {self.decode_peak_bytes >> 20} MiB; "
            f"crashes {len(self.crashes)}; > is what decoding said of what was accepted"
        )
        return lines


def run(
    files: Iterable[Hostile],
    folder: Path,
    baited: Baited,
    *,
    prober: Sequence[str] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Passed:
    """Pass files through prober and decoder.

    Args:
        files: Which.
        folder: In which nothing but the file under test may change.
        baited: Of which none may be taken.
        prober: What to run instead of the prober's child.
        memory_bytes: Address space of the prober's child.
    """
    passed = Passed(memory_bytes)
    inside = folder / "upload"
    inside.mkdir(exist_ok=True)
    path = inside / "media"
    before = listing(folder)
    path.touch()
    began = time.monotonic()
    probing = ContentProber(
        lambda ref: ref.name,
        timeout_s=PROBE_TIMEOUT_S,
        memory_bytes=memory_bytes,
        probes_per_child=1_000_000,
        command=prober,
    )
    # What writes to a relative path or to a temporary folder writes here.
    with contextlib.chdir(inside), contextlib.closing(probing), contextlib.closing(_decoder(inside)) as decoding:
        for file in files:
            path.write_bytes(file.content)
            verdict = _pass(file, path, probing, decoding, passed)
            passed.verdicts.append(verdict)
    passed.took_s = time.monotonic() - began
    passed.callers = baited.taken()
    path.unlink()
    after = listing(folder)
    passed.changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return passed


def _pass(file: Hostile, path: Path, probing: ContentProber, decoding: Child, passed: Passed) -> Verdict:
    outcome, message, rate_hz, decoded = ACCEPTED, "", 0, None
    pid, began = probing.pid, time.monotonic()
    try:
        probe = probing.probe_at(str(path))
        rate_hz = probe.sample_rate_hz
        check_duration(probe.duration_s, MediaLimits())
    except PipelineError as error:
        outcome, message = error.code, error.message
    took_s = time.monotonic() - began
    if pid is not None and probing.pid != pid:
        passed.crashes.append(f"{file.kind}: {file.name}")
    passed.probe_peak_bytes = max(passed.probe_peak_bytes, peak_bytes(probing.pid))
    if outcome == ACCEPTED:
        try:
            decoded = json.loads(decoding.call(str(path), timeout_s=DECODE_TIMEOUT_S))["outcome"]
        except ChildError as error:
            decoded = str(error)
        passed.decode_peak_bytes = max(passed.decode_peak_bytes, peak_bytes(decoding.pid))
    return Verdict(file.kind, file.name, file.outcomes, outcome, message, took_s, rate_hz, decoded)


def _decoder(folder: Path) -> Child:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = (sys.executable, "-m", "tests.hostile.decoder", str(MEMORY_BYTES), str(DECODE_LIMIT_S))
    # A thread of linear algebra reserves addresses for its stack, and none is needed.
    return Child(command, env={"PYTHONPATH": paths, "TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1"})
