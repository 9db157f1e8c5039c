"""``python -m tests.soak [--jobs N] [--seed S] [--calm]``: prints what was lost or done twice; fails if any was."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.run import EVERY_S, Memory, Soak, soak

_MIB = 1024 * 1024
_SHOWN = 20


def main() -> int:
    """Soak and print; 1 if anything was lost or done twice."""
    parser = argparse.ArgumentParser(prog="tests.soak", description="Many short jobs, and a cloud that is killed.")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="decides what is killed when")
    parser.add_argument("--calm", action="store_true", help="kill nothing: for throughput and memory alone")
    given = parser.parse_args()
    print(f"{given.jobs} jobs of 0.2 s, seed {given.seed}. Stand-ins take the place of models: they answer in")
    print("milliseconds and hear nothing, so this is the speed of the pipeline and not of a transcription.", flush=True)
    with tempfile.TemporaryDirectory(prefix="earwitness-soak-") as folder:
        result = soak(Path(folder), given.jobs, seed=given.seed, every_s=None if given.calm else EVERY_S)
    show(result)
    return 0 if result.is_good else 1


def show(result: Soak) -> None:
    """Print what a soak showed."""
    found = result.findings
    kills = ", ".join(f"{name} {count}" for name, count in sorted(result.kills.items())) or "none"
    print(f"completed    {len(found.latencies_s)} of {result.jobs} in {result.took_s:.1f} s")
    print(f"throughput   {len(found.latencies_s) / result.took_s:.1f} jobs/s")
    print(f"lost         {len(found.lost)}")
    print(f"twice        {len(found.twice)}")
    print(f"failed       {len(found.given_up)}, a worker of theirs killed in each attempt they had")
    if found.latencies_s:
        p50, p99 = found.latency_s(0.5), found.latency_s(0.99)
        print(f"latency      p50 {p50:.2f} s, p99 {p99:.2f} s, from creation to completion")
    print(f"kill -9      {kills}")
    retried = ", ".join(f"{code} {count}" for code, count in sorted(found.retried.items())) or "none"
    print(f"attempts     tried again: {retried}")
    print(f"apps         {result.retries} requests sent again, {found.unanswered} jobs created and never heard of")
    print(f"memory       {_mib(result.memory[0])} when warm")
    print(f"             {_mib(result.memory[1])} at the end, at most {result.peak_bytes / _MIB:.0f} MiB")
    print(f"queue        {found.depth} waiting, {found.dead_letters} dead letters")
    print(f"processes    {result.outlived} outlived their cloud")
    for problem in [*result.failures, *found.lost, *found.twice][:_SHOWN]:
        print(f"  {problem}")


def _mib(memory: Memory) -> str:
    parts = ", ".join(f"{name} {size / _MIB:.0f}" for name, size in sorted(memory.items()))
    return f"{sum(memory.values()) / _MIB:.0f} MiB ({parts})"


if __name__ == "__main__":
    sys.exit(main())
