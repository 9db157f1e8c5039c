"""Status documents in SQLite."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence

from infra.local.database import Database
from shared.advance import Step
from shared.errors import PipelineError
from shared.events import Event
from shared.jobs import Job, JobState, Selection

_SELECT = "SELECT document FROM jobs WHERE job_id = ?"


class LocalJobStore:
    """Implements :class:`shared.ports.JobStore`. The write lock of SQLite serialises changes, so none conflicts.

    Args:
        database: Where jobs are kept.
        committed: Told the id of each job that was changed here, right after its commit.
    """

    is_near = True

    def __init__(self, database: Database, committed: Callable[[str], None] = lambda _job_id: None) -> None:
        self._database = database
        self._committed = committed

    def create(self, step: Step) -> None:
        """Store a new job and its events."""
        job = step.job
        with self._database.write() as connection:
            try:
                connection.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?, ?, ?)",
                    (job.job_id, job.tenant_id, job.state, job.revision, job.to_json()),
                )
            except sqlite3.IntegrityError as error:
                raise PipelineError("job.exists", job_id=job.job_id) from error
            _add_to_outbox(connection, step.events)

    def get(self, job_id: str) -> Job:
        """The job as last committed."""
        return _parse(self._database.query(_SELECT, (job_id,)), job_id)

    def update(self, job_id: str, change: Callable[[Job], Step]) -> Step:
        """Apply a change under the write lock."""
        with self._database.write() as connection:
            before = _parse(connection.execute(_SELECT, (job_id,)).fetchall(), job_id)
            step = change(before)
            if step.job is not before:
                connection.execute(
                    "UPDATE jobs SET state = ?, revision = ?, document = ? WHERE job_id = ?",
                    (step.job.state, step.job.revision, step.job.to_json(), job_id),
                )
                _add_to_outbox(connection, step.events)
        if step.job is not before:
            self._committed(job_id)
        return step

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        limit: int = 100,
        after: str | None = None,
        down_to: str | None = None,
        of: Selection | None = None,
    ) -> Sequence[Job]:
        """Jobs by id."""
        where, values = _where(states, of)
        rows = self._database.query(
            f"SELECT document FROM jobs WHERE {where} AND job_id < ? AND job_id >= ? ORDER BY job_id DESC LIMIT ?",  # noqa: S608 (question marks only)
            (*values, after or "\U0010ffff", down_to or "", limit),
        )
        return [Job.from_json(row["document"]) for row in rows]

    def count(self, *states: JobState, tenant_id: str | None = None, limit: int = 10_000) -> int:
        """How many jobs are in these states."""
        where, values = _where(states, Selection(tenant_id=tenant_id) if tenant_id is not None else None)
        statement = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {where} LIMIT ?)"  # noqa: S608 (question marks only)
        return int(self._database.query(statement, (*values, limit))[0][0])

    def unpublished(self, *, limit: int = 100, job_id: str | None = None) -> Sequence[Event]:
        """Events of the outbox."""
        rows = self._database.query(
            "SELECT event FROM outbox WHERE published_at IS NULL AND (?1 IS NULL OR job_id = ?1) "
            "ORDER BY sequence LIMIT ?2",
            (job_id, limit),
        )
        return [Event.from_json(row["event"]) for row in rows]

    def mark_published(self, event_ids: Iterable[str]) -> None:
        """Take events out of the outbox."""
        with self._database.write() as connection:
            connection.executemany(
                "UPDATE outbox SET published_at = ? WHERE event_id = ?",
                [(time.time(), event_id) for event_id in event_ids],
            )

    def erase_history(self, job_id: str) -> None:
        """Remove published rows of a job."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM outbox WHERE job_id = ? AND published_at IS NOT NULL", (job_id,))

    def bookmark(self, name: str) -> str | None:
        """Where a walk goes on."""
        rows = self._database.query("SELECT job_id FROM bookmarks WHERE name = ?", (name,))
        return rows[0]["job_id"] if rows else None

    def set_bookmark(self, name: str, job_id: str | None) -> None:
        """Keep where a walk was broken off."""
        with self._database.write() as connection:
            if job_id is None:
                connection.execute("DELETE FROM bookmarks WHERE name = ?", (name,))
            else:
                connection.execute("INSERT OR REPLACE INTO bookmarks VALUES (?, ?)", (name, job_id))

    def history(self, job_id: str) -> Sequence[Event]:
        """Every event a job has caused, published or not, in order: published rows stay as its history."""
        rows = self._database.query("SELECT event FROM outbox WHERE job_id = ? ORDER BY sequence", (job_id,))
        return [Event.from_json(row["event"]) for row in rows]


def _where(states: Sequence[JobState], of: Selection | None) -> tuple[str, list[object]]:
    """A condition and what its question marks stand for. Its expressions are those of the indexes."""
    wanted = states or tuple(JobState)
    conditions, values = [f"state IN ({', '.join('?' * len(wanted))})"], [*map(str, wanted)]
    if of is not None:
        conditions.append("tenant_id = ?")
        values.append(of.tenant_id)
        if of.owner_id is not None:
            conditions.append("json_extract(document, '$.owner_id') = ?")
            values.append(of.owner_id)
        for pair in of.metadata.items():
            conditions.append("EXISTS (SELECT 1 FROM json_each(document, '$.metadata') WHERE key = ? AND value = ?)")
            values.extend(pair)
    return " AND ".join(conditions), list(values)


def _parse(rows: Sequence[sqlite3.Row], job_id: str) -> Job:
    if not rows:
        raise PipelineError("job.not_found", f"There is no job '{job_id}'.", job_id=job_id)
    return Job.from_json(rows[0]["document"])


def _add_to_outbox(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    connection.executemany(
        "INSERT INTO outbox (event_id, job_id, event) VALUES (?, ?, ?)",
        [(event.id, event.jobid, event.to_json()) for event in events],
    )
