"""What every store of small documents promises.

``google-live`` runs against the database that ``test_job_store`` names, in a collection that it empties.
"""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from google.cloud import firestore

from infra.gcp.document_store import FirestoreDocumentStore, connect
from infra.local.database import Database
from infra.local.document_store import LocalDocumentStore
from shared.documents import Document
from shared.errors import PipelineError
from shared.ports import DocumentStore
from tests.contract.test_job_store import NO_IDS, live_client

NOW = datetime(2026, 11, 21, 12, 0, 0, 123_456, tzinfo=UTC)
WRITERS, WRITES_EACH = 8, 5


class Note(Document):
    """A document for tests."""

    collection: ClassVar[str] = "test_notes"
    text: str = ""
    count: int = 0
    color: str = "red"
    tags: tuple[str, ...] = ()


class Other(Note):
    """One of another collection."""

    collection: ClassVar[str] = "test_others"


@pytest.fixture(params=["local", "google", "google-live"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DocumentStore:
    if request.param == "local":
        return LocalDocumentStore(Database(tmp_path / "state.sqlite"))
    if request.param == "google":
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", request.getfixturevalue("firestore").host)
        return connect(f"test-{uuid.uuid4().hex[:12]}")
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    client: firestore.Client = live_client()
    for kind in (Note, Other):
        client.recursive_delete(client.collection(kind.collection))
    return FirestoreDocumentStore(client)


def note(number: int, **fields: object) -> Note:
    return Note(**{"document_id": f"note_{number:03}", "tenant_id": "t", **fields})


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code


def test_a_document_is_read_back_as_it_was_written(store: DocumentStore) -> None:
    written = note(1, text="ünï 片 🎧\u202e", tags=("a", "b"), due_at=NOW, expires_at=NOW + timedelta(days=1))
    store.create(written)
    assert store.get(Note, "note_001") == written
    assert refused(lambda: store.get(Other, "note_001")) == "document.not_found"


def test_a_document_is_created_once(store: DocumentStore) -> None:
    def create(number: int) -> str:
        try:
            store.create(note(1, count=number))
        except PipelineError as error:
            return error.code
        return "created"

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(create, range(WRITERS)))
    assert sorted(outcomes) == ["created"] + ["document.exists"] * (WRITERS - 1)
    assert outcomes[store.get(Note, "note_001").count] == "created"


def test_no_change_is_lost_among_many_at_once(store: DocumentStore) -> None:
    store.create(note(1))

    def write(_: int) -> None:
        for _ in range(WRITES_EACH):
            store.update(Note, "note_001", lambda before: before.model_copy(update={"count": before.count + 1}))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert store.get(Note, "note_001").count == 2 * WRITES_EACH


def test_a_change_that_changes_nothing_or_fails_writes_nothing(store: DocumentStore) -> None:
    store.create(note(1, text="as it was"))
    assert store.update(Note, "note_001", lambda before: before).text == "as it was"

    def fail(_: Note) -> Note:
        raise PipelineError("request.invalid")

    assert refused(lambda: store.update(Note, "note_001", fail)) == "request.invalid"
    assert store.get(Note, "note_001").text == "as it was"
    assert refused(lambda: store.update(Note, "note_002", lambda before: before)) == "document.not_found"


def test_what_is_removed_is_gone_and_can_come_again(store: DocumentStore) -> None:
    store.create(note(1))
    store.delete(Note, "note_001")
    store.delete(Note, "note_001")
    assert refused(lambda: store.get(Note, "note_001")) == "document.not_found"
    store.create(note(1, text="again"))
    assert store.get(Note, "note_001").text == "again"


@pytest.mark.parametrize("document_id", NO_IDS)
def test_what_is_no_id_names_nothing(store: DocumentStore, document_id: str) -> None:
    assert refused(lambda: store.get(Note, document_id)) == "document.not_found"
    store.delete(Note, document_id)


def test_documents_are_found_by_their_fields_newest_first_in_pages(store: DocumentStore) -> None:
    for number in range(6):
        store.create(note(number, color="red" if number % 2 else "blue", tenant_id="u" if number == 5 else "t"))
    store.create(Other(document_id="note_009", tenant_id="t"))

    def found(**options: object) -> list[str]:
        return [document.document_id[-1] for document in store.find(Note, **options)]

    assert found() == ["5", "4", "3", "2", "1", "0"]
    assert found(tenant_id="t") == ["4", "3", "2", "1", "0"]
    assert found(tenant_id="t", color="red") == ["3", "1"]
    assert found(tenant_id="t", limit=2) == ["4", "3"]
    assert found(tenant_id="t", limit=2, after="note_003") == ["2", "1"]
    assert found(tenant_id="t", color="blue", after="note_002") == ["0"]
    assert found(tenant_id="nobody") == found(color="' OR 1=1 --") == []


def test_documents_are_due_from_their_moment_on_longest_first(store: DocumentStore) -> None:
    for number, seconds in enumerate((30, 10, 20, 40)):
        store.create(note(number, due_at=NOW + timedelta(seconds=seconds)))
    store.create(note(9))
    assert store.due(Note, NOW) == []
    assert [due.document_id for due in store.due(Note, NOW + timedelta(seconds=30))] == [
        "note_001",
        "note_002",
        "note_000",
    ]
    assert [due.document_id for due in store.due(Note, NOW + timedelta(days=1), limit=1)] == ["note_001"]
    store.update(Note, "note_001", lambda before: before.model_copy(update={"due_at": None}))
    assert [due.document_id for due in store.due(Note, NOW + timedelta(days=1), limit=1)] == ["note_002"]


def test_what_has_not_expired_is_never_purged(store: DocumentStore) -> None:
    store.create(note(1, expires_at=NOW))
    store.create(note(2, expires_at=NOW + timedelta(seconds=1)))
    store.create(note(3))
    store.purge(NOW)
    assert store.get(Note, "note_002") and store.get(Note, "note_003")


def test_the_local_store_purges_what_has_expired(tmp_path: Path) -> None:
    store = LocalDocumentStore(Database(tmp_path / "state.sqlite"))
    store.create(note(1, expires_at=NOW))
    assert (store.purge(NOW), store.purge(NOW)) == (1, 0)
    assert store.find(Note) == []
