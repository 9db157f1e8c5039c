"""Apps see a job while it happens: Firestore's listeners in Python and, as ``LISTENING.md`` has it, on the web."""

import hashlib
import json
import queue
import re
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.cloud import firestore as google_firestore

from infra.gcp import job_store
from infra.gcp.job_store import FirestoreJobStore, connect
from shared.jobs import Job
from shared.stages import STAGES
from tests.contract.stories import created, to_the_end
from tests.emulators import Emulator, firestore_emulator, missing

GCP = Path(job_store.__file__).parent
TOOLS = Path(__file__).parent / "listener"
(WEB_EXAMPLE,) = re.findall(r"```js\n(.*?)```", (GCP / "LISTENING.md").read_text("utf-8"), re.DOTALL)
HEARD_S = 30.0
Heard = Mapping[str, Any]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Emulator]:
    with firestore_emulator(GCP / "firestore.rules") as emulator:
        yield emulator


@pytest.fixture
def project() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(guarded: Emulator, project: str, monkeypatch: pytest.MonkeyPatch) -> FirestoreJobStore:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", guarded.host)
    store = connect(project)
    created(store, tenant_id="default", owner_id="ada")
    return store


def until(heard: "queue.Queue[Heard]", **wanted: Any) -> Heard:
    """The next thing heard that has these values."""
    while True:
        found = heard.get(timeout=HEARD_S)
        if all(found.get(name) == value for name, value in wanted.items()):
            return found


def follow(store: FirestoreJobStore, heard: "queue.Queue[Heard]") -> tuple[Sequence[Job], Sequence[Heard]]:
    """Drive the job to its end, waiting after each revision until it was heard of: then none can be skipped."""
    jobs, told = [store.get("job_1")], [until(heard, revision=1)]
    for job in to_the_end(store):
        jobs.append(job)
        told.append(until(heard, revision=job.revision))
    return jobs, told


def check_the_story(jobs: Sequence[Job], told: Sequence[Heard]) -> None:
    assert list(dict.fromkeys(row["state"] for row in told)) == [
        "awaiting_upload",
        "validating",
        "running",
        "completed",
    ]
    progress = [row["progress"] for row in told]
    assert progress == sorted(progress) == [job.progress for job in jobs]
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    assert len(set(progress)) > 2 * len(STAGES)
    assert [row["partial_text"] for row in told] == [job.partial_text for job in jobs]


def test_a_listener_sees_every_state_and_growing_progress(store: FirestoreJobStore, project: str) -> None:
    heard: queue.Queue[Heard] = queue.Queue()
    document = google_firestore.Client(project=project).collection("jobs").document("job_1")
    watch = document.on_snapshot(lambda documents, *_: [heard.put(found.to_dict()) for found in documents])
    try:
        jobs, told = follow(store, heard)
    finally:
        watch.unsubscribe()
    check_the_story(jobs, told)
    assert [row["updated_at"] for row in told] == [job.updated_at for job in jobs]
    assert Job.from_data(told[-1]) == jobs[-1]


@pytest.fixture(scope="module")
def web(request: pytest.FixtureRequest) -> Path:
    """Firebase's JavaScript SDK, installed once for each lock into pytest's cache, and the example beside it."""
    if not (shutil.which("node") and shutil.which("npm")):
        missing("node and npm are needed to run the web listener")
    files = [TOOLS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    installed: Path = request.config.cache.mkdir("web_listener") / digest
    if not installed.exists():
        draft = installed.with_suffix(f".{uuid.uuid4().hex[:8]}")
        draft.mkdir()
        for path in files:
            shutil.copy(path, draft)
        done = subprocess.run(["npm", "ci"], cwd=draft, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            shutil.rmtree(draft)
            missing(f"npm ci failed: {done.stderr[-500:]}")
        try:
            draft.rename(installed)
        except OSError:  # another test process was faster
            shutil.rmtree(draft)
    # Modules are looked for beside the file that imports them.
    code = installed / f"run.{uuid.uuid4().hex[:8]}"
    code.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(code))
    shutil.copy(TOOLS / "listen.mjs", code)
    (code / "example.mjs").write_text(WEB_EXAMPLE, "utf-8")
    return code


@contextmanager
def listening(
    web: Path, guarded: Emulator, project: str, user: Mapping[str, Any] | None
) -> Iterator["queue.Queue[Heard]"]:
    """The web example, running as this user; what it prints."""
    command = ["node", "listen.mjs", "./example.mjs", str(guarded.port), project, json.dumps(user), "job_1"]
    process = subprocess.Popen(
        command, cwd=web, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin and process.stdout and process.stderr
    heard: queue.Queue[Heard] = queue.Queue()
    lines = process.stdout
    reader = threading.Thread(target=lambda: [heard.put(json.loads(line)) for line in lines], daemon=True)
    reader.start()
    try:
        yield heard
        process.stdin.close()
        assert process.wait(HEARD_S) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait(10)
        reader.join(10)
        process.stdout.close()
        process.stderr.close()


def test_the_web_listener_sees_every_state_and_growing_progress(
    web: Path, guarded: Emulator, store: FirestoreJobStore, project: str
) -> None:
    with listening(web, guarded, project, {"sub": "ada"}) as heard:
        jobs, told = follow(store, heard)
    check_the_story(jobs, told)
    times = [job.updated_at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for job in jobs]
    assert [row["updated_at"] for row in told] == times


def test_the_web_listener_lists_the_users_jobs_newest_first(
    web: Path, guarded: Emulator, store: FirestoreJobStore, project: str
) -> None:
    created(store, "job_0", tenant_id="default", owner_id="eve")
    with listening(web, guarded, project, {"sub": "ada"}) as heard:
        until(heard, jobs=["job_1"])
        created(store, "job_2", tenant_id="default", owner_id="ada")
        until(heard, jobs=["job_2", "job_1"])


@pytest.mark.parametrize("user", [None, {"sub": "eve"}, {"sub": "ada", "tenant_id": "acme"}])
def test_the_web_listener_is_refused_another_users_job(
    web: Path, guarded: Emulator, store: FirestoreJobStore, project: str, user: Mapping[str, Any] | None
) -> None:
    with listening(web, guarded, project, user) as heard:
        until(heard, job_refused="permission-denied")


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (TOOLS / "package-lock.json").read_text("utf-8")
