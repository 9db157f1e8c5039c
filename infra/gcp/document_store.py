"""Small documents in Firestore, each collection by its own name."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from infra.gcp.failures import translated
from infra.gcp.optimistic import Collection, Snapshot, insist, is_storable, run_query
from shared.documents import Document
from shared.errors import PipelineError

D = TypeVar("D", bound=Document)


class FirestoreDocumentStore:
    """Implements :class:`shared.ports.DocumentStore`. What has expired, Firestore removes by a TTL policy.

    Args:
        client: Of the database; its own retries are not used.
    """

    def __init__(self, client: firestore.Client) -> None:
        self._client = client

    def create(self, document: Document) -> None:
        """Store a new document."""
        self._collection(type(document)).create(document.document_id, document.model_dump(), lambda _batch: None)

    def get(self, kind: type[D], document_id: str) -> D:
        """A document as last committed."""
        return _read(kind, self._collection(kind).get(document_id))

    def update(self, kind: type[D], document_id: str, change: Callable[[D], D]) -> D:
        """Apply a change to the latest version, and commit it unless there is a later one by then."""

        def changed(snapshot: Snapshot) -> tuple[D, D]:
            before = _read(kind, snapshot)
            return before, change(before)

        def fields(result: tuple[D, D]) -> dict[str, Any] | None:
            before, after = result
            return None if after is before else after.model_dump()

        return self._collection(kind).update(document_id, changed, fields, lambda _batch, _result: None)[1]

    def delete(self, kind: type[D], document_id: str) -> None:
        """Remove a document."""
        if is_storable(document_id):
            reference = self._collection(kind).reference.document(document_id)
            with translated("Firestore"):
                insist(lambda bounds: reference.delete(**bounds()))

    def find(self, kind: type[D], *, limit: int = 100, after: str | None = None, **equal: str) -> Sequence[D]:
        """Documents by id."""
        query = self._collection(kind).reference.order_by("document_id", direction=firestore.Query.DESCENDING)
        for name, value in equal.items():
            query = query.where(filter=FieldFilter(name, "==", value))
        if after is not None:
            query = query.start_after({"document_id": after})
        return [_read(kind, snapshot) for snapshot in run_query(query.limit(limit))]

    def due(self, kind: type[D], now: datetime, *, limit: int = 100) -> Sequence[D]:
        """Documents whose time has come."""
        query = self._collection(kind).reference.where(filter=FieldFilter("due_at", "<=", now))
        return [_read(kind, snapshot) for snapshot in run_query(query.order_by("due_at").limit(limit))]

    def purge(self, _now: datetime, /) -> int:
        """Nothing: the TTL policy does it."""
        return 0

    def _collection(self, kind: type[Document]) -> Collection:
        return Collection(self._client, kind.collection, _refusal, "document.conflict")


def connect(project: str, database: str = "(default)") -> FirestoreDocumentStore:
    """The store of a project. ``FIRESTORE_EMULATOR_HOST`` is honoured.

    Raises:
        PipelineError: ``service.unavailable`` where no credentials are found.
    """
    with translated("Firestore"):
        return FirestoreDocumentStore(firestore.Client(project=project, database=database))


def _refusal(reason: str, _document_id: str) -> PipelineError:
    return PipelineError(f"document.{reason}")


def _read(kind: type[D], snapshot: Snapshot) -> D:
    return kind.from_data(snapshot.to_dict())
