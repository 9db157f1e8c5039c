"""Jobs with real models, wherever their GPU stages run: on this machine's workers, or deployed to a Modal server."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from infra.local.cloud import LocalCloud
from infra.settings import Settings
from shared.ports import StageRunner
from tests.clouds import Phone
from tests.commands import EARWITNESS
from tests.recordings import sample

ARTIFACTS = ("words.json", "turns.json", "transcript.json", "captions.vtt")


def deploying(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a client that knows what it is told here, and nothing else."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    return subprocess.run(
        [*EARWITNESS, *arguments],
        env={**told, "MODAL_CONFIG_PATH": os.devnull, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def artifacts_of(runner: StageRunner, folder: Path, place: str) -> dict[str, bytes]:
    """Send the sample to a cloud with this runner, and take what it wrote; tells how long that took."""
    cloud: Any = LocalCloud(Settings(data_dir=folder), runner=runner)
    with cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        began = time.perf_counter()
        job_id = phone.send(sample().path.read_bytes())
        job = phone.wait(job_id, timeout_s=240)
        took_s = time.perf_counter() - began
        assert job["state"] == "completed", job
        metrics = {name: stage["metrics"] for name, stage in job["stages"].items() if stage.get("metrics")}
        compute_s = {name: round(metrics[name]["compute_s"], 1) for name in ("transcribe", "diarize")}
        print(f"\n{place}: 30 s of audio in {took_s:.1f} s (compute {compute_s})")
        rows = cloud.services.jobs.get(job_id)
        written = {
            artifact.filename: cloud.objects.read(artifact.object)
            for stage in rows.stages.values()
            for artifact in stage.artifacts
        }
    return {name: content for name, content in written.items() if name in ARTIFACTS}
