"""What a cloud's folder says happened to a job: nothing lost, nothing twice.

The database itself writes down every change of a document, and a subscription that nobody answers keeps every event.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from infra.local.object_store import _session_file
from shared.events import Event
from shared.jobs import Job, JobState

# A subscription of all events that nobody answers: what was published stays there to be counted.
WITNESS = "witness"

# Fields of a document that tell when and how often something was tried, not what came out.
_CIRCUMSTANCES = frozenset({
    "at", "attempt", "call_id", "created_at", "deadline_at", "failures", "finished_at", "generation",
    "losses", "not_before", "revision", "started_at", "takeovers", "traceparent", "updated_at", "upload_expires_at",
})  # fmt: skip
# A phone that got no answer asks once more: what nobody uploads to is one more job that waits until its time is over.
_NOT_UPLOADED = {("awaiting_upload", 1), ("expired", 2), ("failed", 2), ("deleting", 3), ("deleted", 4)}


def audit(state: Path) -> None:
    """Have the database write down every change and event of a job from now on, in the transaction that makes it."""
    with closing(sqlite3.connect(state)) as connection:
        connection.executescript(
            """
            PRAGMA synchronous=OFF;
            CREATE TABLE IF NOT EXISTS witnessed_events (event TEXT);
            CREATE TRIGGER IF NOT EXISTS witness_event AFTER INSERT ON outbox BEGIN
                INSERT INTO witnessed_events VALUES (new.event);
            END;
            CREATE TABLE IF NOT EXISTS witnessed (job_id TEXT, before INTEGER, after INTEGER, state TEXT, was TEXT);
            CREATE TRIGGER IF NOT EXISTS witness_update AFTER UPDATE ON jobs BEGIN
                INSERT INTO witnessed VALUES (new.job_id, old.revision, new.revision, new.state, old.state);
            END;
            """
        )


@dataclass(frozen=True)
class Result:
    """What came out of a job, whatever it went through.

    Attributes:
        document: The final status document without times and counts of tries.
        objects: Content of every object of the job, by bucket and name.
        states: Those the job went through, in order.
        events: What was told, but for attempts that failed and were repeated.
    """

    document: Any
    objects: Mapping[str, bytes]
    states: Sequence[str]
    events: Mapping[str, int]


def audited(folder: Path, job_id: str | None, *, has_witness: bool = True) -> Result:
    """Check that nothing was lost or done twice, and return what came out.

    Args:
        folder: State of a cloud at rest.
        job_id: Its one job whose recording arrived; without, the only one there is.
        has_witness: Whether the topic had the subscription ``WITNESS``.
    """
    with closing(sqlite3.connect(folder / "state.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        jobs = [Job.from_json(row["document"]) for row in connection.execute("SELECT document FROM jobs").fetchall()]
        job, *twins = [job for job in jobs if job_id in (None, job.job_id)]
        assert not twins, "one recording has two jobs"
        others = {(str(other.state), other.revision) for other in jobs if other is not job}
        assert others <= _NOT_UPLOADED, f"a job that nobody uploaded to went on: {others}"
        rows = connection.execute("SELECT event FROM witnessed_events ORDER BY rowid").fetchall()
        history = [Event.from_json(row["event"]) for row in rows]
        assert len({event.id for event in history}) == len(history), "two events have one id"
        waiting = connection.execute("SELECT event_id FROM outbox WHERE published_at IS NULL").fetchall()
        assert not waiting, "an event was not published"
        _check_queue(connection, history if has_witness else None)
        _check_calls(folder, job)
        if job.state is JobState.DELETED:
            _check_erased(connection, job)
        return Result(
            _story(job), _objects(connection, folder / "objects", job), _states(connection, job), _told(history, job)
        )


def _states(connection: sqlite3.Connection, job: Job) -> Sequence[str]:
    """Where the job was, in order. Revisions only grew, by one, and at the end no one holds a claim any more."""
    changes = connection.execute("SELECT * FROM witnessed WHERE job_id = ? ORDER BY rowid", (job.job_id,)).fetchall()
    steps = [(row["before"], row["after"]) for row in changes]
    assert steps == [(i, i + 1) for i in range(steps[0][0], job.revision)], steps
    held = [name for name, stage in job.stages.items() if stage.lease_expires_at or stage.not_before]
    assert not held, f"still held or waiting: {held}"
    states = [changes[0]["was"], *(row["state"] for row in changes)]
    return [state for state, _ in groupby(states)]


def _told(history: list[Event], job: Job) -> Mapping[str, int]:
    told = [event for event in history if event.jobid == job.job_id]
    for_good = [event for event in told if not event.data.get("will_retry")]
    return Counter(f"{event.type} {event.data.get('stage', '')}".strip() for event in for_good)


def _check_calls(folder: Path, job: Job) -> None:
    """Nothing waits for its turn, or runs, for a job that has ended."""
    waiting = {path.stem for path in folder.glob("calls/*.waiting")}
    assert not waiting & {stage.call_id for stage in job.stages.values()}, "a call was not stopped"


def _check_erased(connection: sqlite3.Connection, job: Job) -> None:
    """The audit log has that a tenant had a job, and when; nothing of what it was about, and no history."""
    assert not connection.execute("SELECT 1 FROM outbox WHERE job_id = ?", (job.job_id,)).fetchall(), "a history stayed"
    about = (job.filename, job.owner_id, job.media, job.partial_text, job.notices, job.artifacts, job.error)
    stages = [(stage.error, stage.metrics) for stage in job.stages.values()]
    assert not any(about) and not any(map(any, stages)), f"more than a line stayed: {job}"


def _check_queue(connection: sqlite3.Connection, history: list[Event] | None) -> None:
    """Nothing waits or was given up; subscribers saw each event of the outbox, in order within a job, and no other."""
    waiting = connection.execute("SELECT * FROM messages WHERE subscription <> ?", (WITNESS,)).fetchall()
    assert not waiting, "messages wait"
    assert not connection.execute("SELECT * FROM dead_letters").fetchall(), "messages were given up"
    if history is None:
        return
    rows = connection.execute("SELECT headers FROM messages WHERE subscription = ? ORDER BY sequence", (WITNESS,))
    # Twice is allowed, under one id; what counts is when it was first seen.
    seen = list(dict.fromkeys(json.loads(row["headers"])["ce-id"] for row in rows))
    job_of = {event.id: event.jobid for event in history}
    assert sorted(seen) == sorted(job_of), "what was published is not what was committed"
    # A stable sort leaves the order within each job as it is.
    assert sorted(seen, key=lambda id: job_of[id]) == sorted(job_of, key=lambda id: job_of[id]), "out of order"


def _objects(connection: sqlite3.Connection, folder: Path, job: Job) -> Mapping[str, bytes]:
    """Every object: those the document names, no other, each with its file, and no file without an object."""
    rows = connection.execute("SELECT * FROM objects ORDER BY bucket, name").fetchall()
    named = [artifact.object for artifact in job.artifacts] + ([job.media.object] if job.media else [])
    stored = {(row["bucket"], row["name"], row["generation"]) for row in rows}
    assert stored == {(info.bucket, info.name, info.generation) for info in named}, stored
    # A session whose opening was not answered waits for bytes until its URL ends, with or without a file.
    open_sessions = connection.execute("SELECT upload_id FROM upload_sessions WHERE generation IS NULL").fetchall()
    waiting = {_session_file(row["upload_id"]) for row in open_sessions}
    files, known = {path.name for path in folder.iterdir()} - waiting, {row["file"] for row in rows}
    assert files == known, f"{len(files - known)} files are of no object, {len(known - files)} objects have no file"
    return {
        f"{row['bucket']}/{row['name']}".replace(job.job_id, "JOB"): (folder / row["file"]).read_bytes() for row in rows
    }


def _story(job: Job) -> Any:
    """The document without what may differ from one run to the other."""
    story = _without_circumstances(json.loads(job.to_json().replace(job.job_id, "JOB")))
    if job.state is JobState.DELETED:
        del story["stages"], story["progress"]  # how far it was when it was deleted
        return story
    for stage in story["stages"].values():
        if stage["state"] != "failed":
            del stage["error"]  # of an earlier attempt
    return story


def _without_circumstances(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_circumstances(part) for name, part in value.items() if name not in _CIRCUMSTANCES}
    return [_without_circumstances(part) for part in value] if isinstance(value, list) else value
