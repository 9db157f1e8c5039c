"""What the API itself costs: ``python -m tests.bench.overhead`` asks the local cloud for one job, with ``wrk``."""

import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.quality import Row
from tests.clouds import Phone, standin_cloud
from tests.media import encode, tone

RUNS = 5
RUN_S = 4
CONNECTIONS = (1, 8, 16)
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def status_requests() -> list[Row]:
    """``GET /v1/jobs/{id}`` of a completed job with a key: medians of a few runs, for each number of connections.

    ``wrk`` runs beside the cloud and takes a core of its own, about. Empty where it is not installed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        return []
    with TemporaryDirectory() as name, standin_cloud(Path(name)) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job_id = phone.send(encode("wav", tone(1.0)))
        phone.wait(job_id)
        url = f"{cloud.url}/v1/jobs/{job_id}"
        rows = []
        for connections in CONNECTIONS:
            runs = [_run(wrk, url, cloud.owner_token, connections) for _ in range(RUNS)]
            row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            rows.append({"connections": connections, **row, "refused": sum(run["refused"] for run in runs)})
        return rows


def print_overhead(rows: list[Row]) -> None:
    """One line for each number of connections."""
    for row in rows:
        print(
            f"GET /v1/jobs/{{id}}, {row['connections']} connections: {row['requests_per_s']:.0f} requests/s,"
            f" median {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms, {row['refused']:.0f} refused"
            f" (medians of {RUNS} runs of {RUN_S} s, load {row['load']:.1f})"
        )
    if not rows:
        print("GET /v1/jobs/{id}: not measured, because wrk is not installed")


def _run(wrk: str, url: str, token: str, connections: int) -> dict[str, float]:
    command = [wrk, "-t1", f"-c{connections}", f"-d{RUN_S}s", "--latency", "-H", f"authorization: Bearer {token}", url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def found(pattern: str) -> float:
        match = re.search(pattern, told)
        return float(match[1]) * _UNITS_MS.get(match[2] if match.re.groups > 1 else "", 1.0) if match else 0.0

    return {
        "requests_per_s": found(r"Requests/sec:\s+([\d.]+)"),
        "p50_ms": found(r"50%\s+([\d.]+)(us|ms|s)"),
        "p99_ms": found(r"99%\s+([\d.]+)(us|ms|s)"),
        "refused": found(r"Non-2xx or 3xx responses: (\d+)"),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    print_overhead(status_requests())
