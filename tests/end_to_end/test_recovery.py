"""``kill -9`` of the whole tree in the middle of each stage, and a restart on the same folder.

Stand-ins take the place of models, so that a stage can be held open; with models, see ``test_models_recovery``.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.local.database import Database
from infra.local.job_store import LocalJobStore
from infra.local.object_store import LocalObjectStore
from tests.clouds import Phone, behave, starts, token_of, wait_for
from tests.media import encode, tone

WAV = encode("wav", tone(2.0))
ARTIFACTS = ["captions.srt", "captions.vtt", "transcript.json", "turns.json", "words.json"]


@contextmanager
def running(folder: Path) -> Iterator[tuple[psutil.Process, Phone]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.standin_cloud", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield psutil.Process(process.pid), Phone(process.stdout.readline().strip(), token_of(folder / "cloud"))
    finally:
        process.terminate()
        process.wait(20)


def kill_tree(root: psutil.Process) -> None:
    family = [root, *root.children(recursive=True)]
    for member in family:
        os.kill(member.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)


def holds(folder: Path, job_id: str, stage: str, *states: str) -> bool:
    """Looks at the state file itself: asking the server would not be quick enough to hit a short stage."""
    store = LocalJobStore(Database(folder / "cloud" / "state.sqlite"))
    return store.get(job_id).stages[stage].state in states


@pytest.mark.parametrize("stage", ["validate", "transcribe", "diarize", "attribute", "caption"])
def test_a_killed_cloud_finishes_the_job_after_a_restart(tmp_path: Path, stage: str) -> None:
    # Enough words that attribution and captions take long enough to be hit in the middle.
    behave(tmp_path, transcribe={"sleep_s": 1.0, "words": 20_000}, diarize={"sleep_s": 1.0, "words": 20_000})
    with running(tmp_path) as (root, phone):
        job_id = phone.send(WAV)
        state = ("running", "completed") if stage == "validate" else ("dispatched", "running")
        wait_for(lambda: holds(tmp_path, job_id, stage, *state), every_s=0.001)
        kill_tree(root)
    with running(tmp_path) as (_, phone):
        job = phone.wait(job_id)
    assert job["state"] == "completed", job
    check_once(tmp_path, job_id)


def test_a_cloud_killed_again_and_again_finishes_the_job(tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"sleep_s": 0.3}, diarize={"sleep_s": 0.3})
    with running(tmp_path) as (root, phone):
        job_id = phone.send(WAV)
        kill_tree(root)
    for stage in ("transcribe", "diarize", "transcribe", "diarize", "attribute"):
        with running(tmp_path) as (root, _):
            wait_for(lambda stage=stage: holds(tmp_path, job_id, stage, "dispatched", "running", "completed"))
            kill_tree(root)
    with running(tmp_path) as (_, phone):
        assert phone.wait(job_id)["state"] == "completed"
    check_once(tmp_path, job_id)


def test_workers_do_not_outlive_their_parent(tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"hang": True}, diarize={"hang": True})
    with running(tmp_path) as (root, phone):
        job_id = phone.send(WAV)
        wait_for(lambda: {stage for _, job, stage, _ in starts(tmp_path) if job == job_id} == {"transcribe", "diarize"})
        children = root.children(recursive=True)
        assert len(children) >= 2
        os.kill(root.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []


def check_once(folder: Path, job_id: str) -> None:
    """One set of artifacts, each stage completed once, one ``job.completed``."""
    database = Database(folder / "cloud" / "state.sqlite")
    events = [(event.type, event.data.get("stage")) for event in LocalJobStore(database).history(job_id)]
    completed = [event for event in events if event[0] in ("stage.completed", "job.completed", "media.validated")]
    assert len(completed) == len(set(completed)) == 6, events
    objects = LocalObjectStore(database, folder / "cloud" / "objects", "", *[None] * 3, {})  # type: ignore[arg-type]
    assert objects.names("earwitness-results") == [f"default/{job_id}/{name}" for name in ARTIFACTS]
    database.close()
