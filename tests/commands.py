"""The real thing: the ``earwitness`` command, a served local cloud, and model files."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.clouds import Phone, token_of, wait_for

EARWITNESS = (sys.executable, "-c", "from infra.cli import main; main()")


def earwitness(*arguments: str | Path, timeout_s: float = 280.0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*EARWITNESS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@dataclass(frozen=True)
class Served:
    """A served local cloud."""

    process: psutil.Process
    phone: Phone
    greeting: str
    token: str


@contextmanager
def served(folder: Path, **environment: str) -> Iterator[Served]:
    """``earwitness up`` on any free port, until the end of the block."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("a") as sink:
        process = subprocess.Popen(
            [*EARWITNESS, "up", "--port", "0", "--data", str(folder)],
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        assert process.stdout is not None
        greeting = ""
        for line in process.stdout:
            greeting += line
            if "API reference" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:\d+", greeting)
        assert found, log.read_text()
        yield Served(psutil.Process(process.pid), Phone(found.group(), token_of(folder)), greeting, token_of(folder))
    finally:
        process.terminate()
        process.wait(20)


def follow(phone: Phone, job_id: str, *, timeout_s: float = 240.0) -> list[dict]:
    """Every different status document until the terminal one."""
    seen: list[dict] = []

    def is_over() -> bool:
        job = phone.job(job_id)
        if not seen or job["revision"] != seen[-1]["revision"]:
            seen.append(job)
        return job["state"] in ("completed", "rejected", "failed", "canceled", "expired")

    wait_for(is_over, timeout_s=timeout_s, every_s=0.02)
    return seen
