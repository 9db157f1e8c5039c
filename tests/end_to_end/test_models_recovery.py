"""``kill -9`` of ``earwitness up`` in the middle of the stages that run models, and a restart on the same folder."""

import random
import time
from pathlib import Path

import pytest

from infra.cli.sample import sample_path
from tests.clouds import wait_for
from tests.commands import earwitness, follow, served
from tests.end_to_end.test_recovery import check_once, holds, kill_tree

pytestmark = [pytest.mark.models, pytest.mark.slow]


@pytest.mark.parametrize("stage", ["transcribe", "diarize"])
def test_a_killed_cloud_finishes_the_job_after_a_restart(models: Path, tmp_path: Path, stage: str) -> None:
    state = tmp_path / "cloud"
    pause_s = random.Random(stage).uniform(0.2, 1.5)
    with served(state) as cloud:
        job_id = cloud.phone.send(sample_path().read_bytes(), filename="sample.wav")
        wait_for(lambda: holds(tmp_path, job_id, stage, "running", "dispatched"))
        time.sleep(pause_s)  # a moment somewhere in the model's work: nothing shows where it is
        kill_tree(cloud.process)
    with served(state) as cloud:
        assert follow(cloud.phone, job_id)[-1]["state"] == "completed"
        text = cloud.phone.client.get(f"/v1/jobs/{job_id}/transcript?format=txt").text
    assert "New Jersey" in text
    check_once(tmp_path, job_id)
    listed = earwitness("jobs", "--data", state, timeout_s=30)
    assert job_id in listed.stdout and "completed" in listed.stdout
    shown = earwitness("job", job_id, "--data", state, timeout_s=30)
    assert "job.completed" in shown.stdout and "transcribe" in shown.stdout
