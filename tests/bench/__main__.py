"""``make bench``: quality and speed on this machine, as a table and as JSON."""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.models import pull
from infra.settings import Settings
from shared.weights import DEFAULT_MODELS
from tests.bench.latency import finalize_to_start_ms
from tests.bench.overhead import print_overhead, status_requests
from tests.bench.quality import Row, print_rows, quality, speed
from tests.recordings import long_recording

_LONG_S = 420.0


def main() -> None:
    """Measure, print, and write what was asked for."""
    arguments = _arguments()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # for the processes that measure, as in gpu_jobs.worker
    models_dir = Settings().models_dir
    for alias in (arguments.model, DEFAULT_MODELS["diarize"]):
        pull(alias, models_dir)
    latency_ms = sorted(finalize_to_start_ms())
    with TemporaryDirectory() as folder:
        long = long_recording(Path(folder) / "long.wav", min_s=_LONG_S)
        rows = quality(arguments.model, models_dir) + speed(arguments.model, models_dir, long)
    report: dict[str, Any] = {
        "machine": _machine(),
        "rows": rows,
        "wall_ratio_to_bare": _ratios(rows),
        "finalize_to_start_ms": {
            "median": statistics.median(latency_ms),
            "p95": latency_ms[int(0.95 * len(latency_ms))],
            "count": len(latency_ms),
        },
        "status_requests": status_requests(),
    }
    _print(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODELS["transcribe"], help="alias of a speech model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    return parser.parse_args()


def _ratios(rows: list[Row]) -> dict[str, float]:
    """Wall time of the command over that of faster-whisper alone; loading the model counts in both."""
    wall_s = {row["how"]: row["wall_s"] for row in rows if "bare" in row["how"] or "earwitness" in row["how"]}
    ours_s = wall_s.pop("through_earwitness")
    return {how: ours_s / bare_s for how, bare_s in wall_s.items()}


def _machine() -> Row:
    return {
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _print(report: dict[str, Any]) -> None:
    print_rows(report["rows"])
    for how, ratio in report["wall_ratio_to_bare"].items():
        print(f"earwitness transcribe --no-diarize ÷ {how.replace('_', ' ')}: {ratio:.2f}")
    latency = report["finalize_to_start_ms"]
    print(f"finalize → job start: median {latency['median']:.1f} ms, p95 {latency['p95']:.1f} ms of {latency['count']}")
    print_overhead(report["status_requests"])


if __name__ == "__main__":
    main()
