"""Local clouds for tests: the real thing, with a stand-in where a model would be."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.local.cloud import LocalCloud
from infra.local.runner import LocalRunner
from infra.pipeline.keys import owner_token
from infra.settings import Settings

STANDIN = (sys.executable, "-m", "tests.standin_worker")
TERMINAL = ("completed", "rejected", "failed", "canceled", "expired")


@contextmanager
def standin_cloud(folder: Path, **settings: Any) -> Iterator[LocalCloud]:
    """A running cloud in ``folder/cloud`` whose workers are stand-ins that read ``folder/behaviour.json``."""
    folder.mkdir(exist_ok=True)
    # Tests send one recording again and again, and each job is to do its work.
    settings.setdefault("reuse_days", 0.0)
    cloud = LocalCloud(
        Settings(data_dir=folder / "cloud", models_dir=folder, **settings),
        runner=LocalRunner(folder, folder / "logs", worker=STANDIN),
    )
    with cloud:
        yield cloud


def token_of(folder: Path) -> str:
    """The token of the owner's key, of the state in a folder."""
    return owner_token((folder / "key").read_bytes())


def behave(folder: Path, **stages: dict[str, Any]) -> None:
    """Tell the stand-ins what to do from now on."""
    draft = folder / "behaviour.new"
    draft.write_text(json.dumps(stages))
    draft.replace(folder / "behaviour.json")


def starts(folder: Path) -> list[tuple[float, str, str, int]]:
    """When which attempt of which stage of which job was started."""
    path = folder / "started.txt"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(float(at), job_id, stage, int(attempt)) for at, job_id, stage, attempt in rows]


class Phone:
    """What an app does, with nothing but HTTP.

    Args:
        url: Of the API.
        token: Of an API key.
    """

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False)

    def create(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def send(self, content: bytes, **body: Any) -> str:
        """Create a job, upload by one PUT, and return the job's id."""
        created = self.create(**body)
        answer = self.put(created["upload"], content)
        assert answer.status_code == 200, answer.text
        return created["job"]["job_id"]

    def put(self, upload: dict[str, Any], content: bytes) -> httpx.Response:
        """Send a signed upload, with its headers and no other: a store refuses a key that it does not know."""
        return httpx.request(
            upload["method"], upload["url"], headers=upload["headers"], content=content, timeout=60.0, trust_env=False
        )

    def job(self, job_id: str) -> dict[str, Any]:
        while (answer := self.client.get(f"/v1/jobs/{job_id}")).status_code == 429:
            time.sleep(float(answer.headers["retry-after"]))  # a test that polls may ask more than its key allows
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(
        self, job_id: str, until: Callable[[dict[str, Any]], bool] | None = None, *, timeout_s: float = 60.0
    ) -> dict:
        """The job once a condition holds; by default once it is terminal."""
        done = until or (lambda job: job["state"] in TERMINAL)
        return wait_for(lambda: (job := self.job(job_id)) and done(job) and job, timeout_s=timeout_s)


def wait_for(condition: Callable[[], Any], *, timeout_s: float = 30.0, every_s: float = 0.01) -> Any:
    """What a condition gives once it is true; fails when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(every_s)
    return result
