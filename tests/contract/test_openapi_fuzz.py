"""Schemathesis against a running cloud: whatever the reference allows is taken, and nothing else; nothing breaks."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.api.app import create_app
from infra.api.openapi import operations
from tests.clouds import Phone, standin_cloud
from tests.media import encode, tone

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
ROOT = Path(__file__).parents[2]
HOOKS = "tests.contract.schemathesis_hooks"
# Of its phases that go on as long as there is time; a machine that is busy tries less and not longer.
BUDGET_S = 50


@pytest.mark.slow
def test_the_api_does_what_its_reference_says(tmp_path: Path, tell: Callable[[str], None]) -> None:
    with standin_cloud(tmp_path, requests_per_minute=1_000_000) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job = phone.wait(phone.send(encode("wav", tone(1.0))))
        key = phone.client.post("/v1/keys", json={"name": "spare"}).json()["key"]
        known = {
            "EARWITNESS_KEY": cloud.owner_token,
            "EARWITNESS_JOB": job["job_id"],
            "EARWITNESS_SPARE_KEY": key["key_id"],
        }
        command = [Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIGURATION, "run"]
        done = subprocess.run(
            [*command, f"{cloud.url}/openapi.json", "--max-time", str(BUDGET_S), "--no-color"],
            cwd=tmp_path,
            env={**os.environ, **known, "COLUMNS": "120", "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=BUDGET_S * 3,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    summary = done.stdout.partition("= SUMMARY =")[2]
    assert summary.count("❌") == 0
    (tested,) = re.findall(r"Tested: (\d+)", summary)
    assert int(tested) == len(list(operations(create_app().openapi())))
    (cases,) = re.findall(r"Test cases:\n\s+(.+)\n", summary)
    tell(f"schemathesis: {tested} operations tested, {cases}")
