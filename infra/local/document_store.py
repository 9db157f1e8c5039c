"""Small documents in SQLite."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from infra.local.database import Database
from shared.documents import Document
from shared.errors import PipelineError

D = TypeVar("D", bound=Document)

_SELECT = "SELECT document FROM documents WHERE collection = ? AND document_id = ?"


class LocalDocumentStore:
    """Implements :class:`shared.ports.DocumentStore`. The write lock of SQLite serialises changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, document: Document) -> None:
        """Store a new document."""
        with self._database.write() as connection:
            try:
                connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", _row(document))
            except sqlite3.IntegrityError as error:
                raise PipelineError("document.exists") from error

    def get(self, kind: type[D], document_id: str) -> D:
        """A document as last committed."""
        return _parse(kind, self._database.query(_SELECT, (kind.collection, document_id)))

    def update(self, kind: type[D], document_id: str, change: Callable[[D], D]) -> D:
        """Apply a change under the write lock."""
        with self._database.write() as connection:
            before = _parse(kind, connection.execute(_SELECT, (kind.collection, document_id)).fetchall())
            after = change(before)
            if after is not before:
                connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", _row(after))
        return after

    def delete(self, kind: type[D], document_id: str) -> None:
        """Remove a document."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM documents WHERE collection = ? AND document_id = ?", (kind.collection, document_id)
            )

    def find(self, kind: type[D], *, limit: int = 100, after: str | None = None, **equal: str) -> Sequence[D]:
        """Documents by id."""
        tenant_id = equal.pop("tenant_id", None)
        conditions = "".join(" AND json_extract(document, ?) = ?" for _ in equal)
        values = [part for name, value in equal.items() for part in (f"$.{name}", value)]
        rows = self._database.query(
            "SELECT document FROM documents WHERE collection = ? AND (?2 IS NULL OR tenant_id = ?2)"  # noqa: S608 (placeholders only)
            f" AND document_id < ?{conditions} ORDER BY document_id DESC LIMIT ?",
            (kind.collection, tenant_id, after or "\U0010ffff", *values, limit),
        )
        return [kind.from_json(row["document"]) for row in rows]

    def due(self, kind: type[D], now: datetime, *, limit: int = 100) -> Sequence[D]:
        """Documents whose time has come."""
        rows = self._database.query(
            "SELECT document FROM documents WHERE collection = ? AND due_at <= ? ORDER BY due_at LIMIT ?",
            (kind.collection, now.timestamp(), limit),
        )
        return [kind.from_json(row["document"]) for row in rows]

    def purge(self, now: datetime, /) -> int:
        """Remove what has expired."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM documents WHERE expires_at <= ?", (now.timestamp(),)).rowcount


def _row(document: Document) -> tuple[object, ...]:
    return (
        document.collection,
        document.document_id,
        document.tenant_id,
        document.due_at.timestamp() if document.due_at else None,
        document.expires_at.timestamp() if document.expires_at else None,
        document.to_json(),
    )


def _parse(kind: type[D], rows: Sequence[sqlite3.Row]) -> D:
    if not rows:
        raise PipelineError("document.not_found")
    return kind.from_json(rows[0]["document"])
