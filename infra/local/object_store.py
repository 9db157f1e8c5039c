"""Objects as files that never change, described in SQLite."""

import base64
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from infra.local.database import Database
from infra.local.event_queue import EventQueue, enqueue
from infra.local.notifications import finalized
from infra.local.signing import UrlSigner
from infra.upload_protocol import upload_request
from shared.errors import PipelineError
from shared.media import ObjectInfo, ObjectRef
from shared.ports import Clock
from shared.requests import SignedRequest

_SELECT = "SELECT * FROM objects WHERE bucket = ? AND name = ?"
_EXPIRED_SESSIONS = "DELETE FROM upload_sessions WHERE expires_at <= ? RETURNING upload_id"


@dataclass(frozen=True)
class UploadSession:
    """A resumable upload under way.

    Attributes:
        path: What has arrived; its size is how far the upload is.
        generation: Of the object, once it is finished.
    """

    upload_id: str
    ref: ObjectRef
    content_type: str
    max_bytes: int
    path: Path
    generation: int | None


class LocalObjectStore:
    """Implements :class:`shared.ports.ObjectStore`.

    A file is written under a random name first and belongs to an object once one transaction has said so;
    the same transaction queues the finalize event. Object names never become paths.

    Args:
        database: Where objects are described.
        folder: Where their contents lie.
        base_url: Of the object server.
        signer: Signs its URLs.
        clock: Tells when they expire.
        queue: Gets finalize events.
        notified: Function that gets the finalize events of each bucket that has one.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        base_url: str,
        signer: UrlSigner,
        clock: Clock,
        queue: EventQueue,
        notified: dict[str, str],
    ) -> None:
        self._database = database
        self._folder = folder
        self._base_url = base_url
        self._signer = signer
        self._clock = clock
        self._queue = queue
        self._notified = notified
        folder.mkdir(exist_ok=True, mode=0o700)

    def sign_upload(
        self, ref: ObjectRef, *, content_type: str, max_bytes: int, expires_s: float, resumable: bool = False
    ) -> SignedRequest:
        """A signed ``PUT``, or the signed ``POST`` that opens a resumable session."""
        method, headers = upload_request(content_type, max_bytes, resumable=resumable)
        url = self._signer.sign(method, self._url(ref), headers, expires_s=expires_s, now=self._clock.now())
        return SignedRequest(method=method, url=url, headers=headers)

    def sign_download(self, ref: ObjectRef, *, expires_s: float) -> str:
        """A signed ``GET``; of one generation, if one is given, and of no later one."""
        parameters = {} if ref.generation is None else {"generation": str(ref.generation)}
        return self._signer.sign(
            "GET", self._url(ref), {}, expires_s=expires_s, now=self._clock.now(), parameters=parameters
        )

    def stat(self, ref: ObjectRef) -> ObjectInfo:
        """The object's description."""
        return _info(self._row(ref))

    def read(self, ref: ObjectRef) -> bytes:
        """The whole content."""
        with _disk():
            return self.path(ref).read_bytes()

    def write(self, ref: ObjectRef, content: bytes, *, content_type: str) -> ObjectInfo:
        """Create the object."""
        path = self.new_file()
        try:
            with _disk():
                path.write_bytes(content)
            return self.commit(ref, path, content_type=content_type)
        except PipelineError:
            self.discard(path)
            raise

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object and its content; with a generation, only while it is that one."""
        with self._database.write() as connection:
            row = connection.execute(
                "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = coalesce(?, generation) "
                "RETURNING file",
                (ref.bucket, ref.name, ref.generation),
            ).fetchone()
            if row is not None:
                # Within the transaction: whoever is not told of its commit deletes again, and would find no row then.
                with _disk():
                    (self._folder / row["file"]).unlink(missing_ok=True)

    def path(self, ref: ObjectRef) -> Path:
        """The file with the content; never to be written to."""
        return self._folder / str(self._row(ref)["file"])

    def new_file(self) -> Path:
        """A path for content that belongs to no object yet."""
        return self._folder / secrets.token_hex(16)

    def discard(self, path: Path) -> None:
        """Remove content that became no object. A commit may have happened though its answer got lost: that stays."""
        if not self._database.query("SELECT 1 FROM objects WHERE file = ?", (path.name,)):
            with _disk():
                path.unlink(missing_ok=True)

    def commit(
        self, ref: ObjectRef, path: Path, *, content_type: str, session: UploadSession | None = None
    ) -> ObjectInfo:
        """Make a complete file the content of a new object, and queue its finalize event.

        Raises:
            PipelineError: ``object.exists``; ``object.not_found`` when the session expired meanwhile.
        """
        with _disk(), path.open("rb") as file:
            os.fsync(file.fileno())
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
            size_bytes = os.fstat(file.fileno()).st_size
        info = ObjectInfo(
            bucket=ref.bucket,
            name=ref.name,
            generation=time.time_ns() // 1000,
            size_bytes=size_bytes,
            content_type=content_type,
            md5=base64.b64encode(md5).decode(),
        )
        with self._database.write() as connection:
            self._insert(connection, info, path.name)
            if session is not None:
                finished = connection.execute(
                    "UPDATE upload_sessions SET generation = ? WHERE upload_id = ?",
                    (info.generation, session.upload_id),
                )
                if not finished.rowcount:  # it expired meanwhile, and its file goes or is gone
                    raise PipelineError("object.not_found", "There is no such upload session.")
            if (subscription := self._notified.get(ref.bucket)) is not None:
                enqueue(connection, subscription, None, *finalized(info))
        self._queue.arrived.set()
        return info

    def open_session(self, ref: ObjectRef, *, content_type: str, max_bytes: int, expires_at: datetime) -> UploadSession:
        """Begin a resumable upload, which is good as long as the URL that opened it.

        Raises:
            PipelineError: ``object.exists``.
        """
        upload_id = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            if connection.execute(_SELECT, (ref.bucket, ref.name)).fetchone() is not None:
                raise PipelineError("object.exists")
            connection.execute(
                "INSERT INTO upload_sessions VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (upload_id, ref.bucket, ref.name, content_type, max_bytes, expires_at.timestamp()),
            )
            expired = connection.execute(_EXPIRED_SESSIONS, (self._clock.now().timestamp(),)).fetchall()
        session = self.session(upload_id)
        with _disk():
            session.path.touch()
            for row in expired:
                self.discard(self._folder / _session_file(row["upload_id"]))
        return session

    def session(self, upload_id: str) -> UploadSession:
        """A resumable upload by its id.

        Raises:
            PipelineError: ``object.not_found`` for one that is unknown, canceled or expired.
        """
        rows = self._database.query(
            "SELECT * FROM upload_sessions WHERE upload_id = ? AND expires_at > ?",
            (upload_id, self._clock.now().timestamp()),
        )
        if not rows:
            raise PipelineError("object.not_found", "There is no such upload session.")
        row = rows[0]
        ref = ObjectRef(bucket=row["bucket"], name=row["name"])
        path = self._folder / _session_file(upload_id)
        return UploadSession(upload_id, ref, row["content_type"], row["max_bytes"], path, row["generation"])

    def cancel_session(self, session: UploadSession) -> None:
        """Forget a resumable upload that is not finished."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM upload_sessions WHERE upload_id = ? AND generation IS NULL", (session.upload_id,)
            )
        if session.generation is None:
            session.path.unlink(missing_ok=True)

    def remove_orphans(self) -> int:
        """Delete files that a crash left without an object or session: only while nothing else runs here."""
        with self._database.write() as connection:
            connection.execute(_EXPIRED_SESSIONS, (self._clock.now().timestamp(),))
        sessions = self._database.query("SELECT upload_id FROM upload_sessions")
        known = {row["file"] for row in self._database.query("SELECT file FROM objects")}
        known |= {_session_file(row["upload_id"]) for row in sessions}
        orphans = [path for path in self._folder.iterdir() if path.name not in known]
        for path in orphans:
            path.unlink()
        return len(orphans)

    def names(self, bucket: str) -> Sequence[str]:
        """Names of all objects of a bucket, sorted."""
        rows = self._database.query("SELECT name FROM objects WHERE bucket = ? ORDER BY name", (bucket,))
        return [row["name"] for row in rows]

    def _url(self, ref: ObjectRef) -> str:
        return f"{self._base_url}/{quote(ref.bucket, safe='')}/{quote(ref.name, safe='/~')}"

    def _row(self, ref: ObjectRef) -> sqlite3.Row:
        rows = self._database.query(_SELECT, (ref.bucket, ref.name))
        if not rows or (ref.generation is not None and ref.generation != rows[0]["generation"]):
            raise PipelineError("object.not_found", name=ref.name)
        return rows[0]

    def _insert(self, connection: sqlite3.Connection, info: ObjectInfo, file: str) -> None:
        try:
            connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (info.bucket, info.name, info.generation, info.size_bytes, info.content_type, info.md5, file),
            )
        except sqlite3.IntegrityError as error:
            raise PipelineError("object.exists", name=info.name) from error


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full or broken is a service that is away: the same may succeed later."""
    try:
        yield
    except OSError as error:
        raise PipelineError("service.unavailable", f"The local objects cannot be used: {error.strerror}.") from error


def _session_file(upload_id: str) -> str:
    return f"session-{hashlib.sha256(upload_id.encode()).hexdigest()}"


def _info(row: sqlite3.Row) -> ObjectInfo:
    return ObjectInfo(
        bucket=row["bucket"],
        name=row["name"],
        generation=row["generation"],
        size_bytes=row["size_bytes"],
        content_type=row["content_type"],
        md5=row["md5"],
    )
