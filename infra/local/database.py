"""The SQLite file under the local cloud: one connection a thread, WAL, and short write transactions."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.errors import PipelineError

# How long a change waits for another process, and for the other threads of this one.
_BUSY_TIMEOUT_S = 5.0
_TURN_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, state TEXT NOT NULL, revision INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, job_id);
CREATE INDEX IF NOT EXISTS jobs_by_tenant ON jobs (tenant_id, job_id);
CREATE INDEX IF NOT EXISTS jobs_by_tenant_and_state ON jobs (tenant_id, state, job_id);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (tenant_id, json_extract(document, '$.owner_id'), job_id);

CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, job_id TEXT NOT NULL,
    event TEXT NOT NULL, published_at REAL
);
CREATE INDEX IF NOT EXISTS outbox_by_job ON outbox (job_id, sequence);
CREATE INDEX IF NOT EXISTS outbox_unpublished ON outbox (sequence) WHERE published_at IS NULL;

CREATE TABLE IF NOT EXISTS bookmarks (name TEXT PRIMARY KEY, job_id TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, document_id TEXT NOT NULL, tenant_id TEXT NOT NULL, due_at REAL, expires_at REAL,
    document TEXT NOT NULL, PRIMARY KEY (collection, document_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_tenant ON documents (collection, tenant_id, document_id);
CREATE INDEX IF NOT EXISTS documents_due ON documents (collection, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS documents_expired ON documents (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL, ordering_key TEXT,
    headers TEXT NOT NULL, body BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0, last_error TEXT
);
CREATE INDEX IF NOT EXISTS messages_by_key ON messages (subscription, ordering_key, sequence);
CREATE INDEX IF NOT EXISTS messages_due ON messages (due_at);
CREATE TABLE IF NOT EXISTS dead_letters (
    sequence INTEGER PRIMARY KEY, subscription TEXT NOT NULL, ordering_key TEXT, headers TEXT NOT NULL,
    body BLOB NOT NULL, attempts INTEGER NOT NULL, last_error TEXT, died_at REAL NOT NULL
);

CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL, md5 TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload_sessions (
    upload_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, content_type TEXT NOT NULL,
    max_bytes INTEGER NOT NULL, expires_at REAL NOT NULL, generation INTEGER
) WITHOUT ROWID;
"""


class Database:
    """One SQLite file.

    A commit is on disk when it returns (``synchronous=FULL``), so it survives a power cut as well as a kill.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: dict[threading.Thread, sqlite3.Connection] = {}
        self._lock = threading.Lock()
        # SQLite's own wait for the write lock sleeps in steps of up to 25 ms; threads of one process need not.
        self._writing = threading.Lock()
        path.touch(mode=0o600)
        with self.write() as connection:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)

    def query(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Rows of a statement that only reads.

        Raises:
            PipelineError: ``service.unavailable`` when the database cannot be read.
        """
        try:
            return self._connection().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise PipelineError("service.unavailable", f"The local database cannot be read: {error}.") from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            self._local.connection = connection
            with self._lock:
                # Servers come and go through threads: what a dead one used is closed here.
                for thread in [thread for thread in self._connections if not thread.is_alive()]:
                    self._connections.pop(thread).close()
                self._connections[threading.current_thread()] = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        # Closed from another thread at the end, hence the waiver; used by one thread alone.
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the one write lock, committed at the end of the block.

        Raises:
            PipelineError: ``service.unavailable`` when the lock or the disk is not to be had.
        """
        with self._turn():
            connection: sqlite3.Connection | None = None
            try:
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if connection is not None and connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise PipelineError("service.unavailable", f"The local database did not answer: {error}.") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock of this process' threads: while another process has the database, each would wait in turn."""
        if not self._writing.acquire(timeout=_TURN_S):
            raise PipelineError("service.unavailable", "The local database is busy.")
        try:
            yield
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
        self._local = threading.local()
