"""What each method of a store asks of Google, seen on emulators, against what ``access_uses`` says that it needs."""

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from google.cloud import firestore
from google.cloud.firestore_v1 import types

from infra.gcp import document_store, job_store, object_store
from shared.documents import Document
from shared.errors import PipelineError
from shared.events import JobCanceled
from shared.jobs import JobState, Selection
from shared.media import ObjectRef
from tests.contract.stories import created, told
from tests.emulators import Emulator
from tests.terraform.access_uses import FIRESTORE, STORAGE

# Google's tables: https://firebase.google.com/docs/firestore/security/iam and
# https://docs.cloud.google.com/storage/docs/access-control/iam-json
_FOUND = {"datastore.entities.get", "datastore.entities.list"}
_OF_CALL = {
    "batch_get_documents": {"datastore.entities.get"},
    "run_query": _FOUND,
    "run_aggregation_query": _FOUND,
}
_OF_REQUEST = (
    (re.compile(r"GET .*/o/"), "storage.objects.get"),
    (re.compile(r"POST .*/upload/"), "storage.objects.create"),
    (re.compile(r"DELETE .*/o/"), "storage.objects.delete"),
)
# That something is not there is told only to who may list: no request of its own.
_TOLD_OF_MISSING = {"storage.objects.list"}


class Note(Document):
    """A document for tests."""

    collection: ClassVar[str] = "test_permissions"
    text: str = ""
    due_at: datetime | None = None


class Seen:
    """The permissions that requests took, by the method that sent them."""

    def __init__(self) -> None:
        self.permissions: dict[Any, set[str]] = defaultdict(set)
        self._method: Any = None

    @contextmanager
    def method(self, *name: str) -> Iterator[None]:
        """While one method is called, which is named as the table does."""
        self._method = name if len(name) > 1 else name[0]
        self.permissions[self._method] |= set()
        yield
        self._method = None

    def add(self, permissions: set[str]) -> None:
        if self._method is not None:
            self.permissions[self._method] |= permissions


def of_writes(request: Any) -> set[str]:
    """What a commit takes: of each write its own."""
    found: set[str] = set()
    for write in types.CommitRequest(request).writes:
        condition = types.Precondition.pb(write.current_document).WhichOneof("condition_type")
        if write.delete:
            found.add("datastore.entities.delete")
        elif condition is None:
            found |= {"datastore.entities.create", "datastore.entities.update"}
        elif condition == "exists" and not write.current_document.exists:
            found.add("datastore.entities.create")
        else:
            found.add("datastore.entities.update")
    return found


def watch_firestore(client: firestore.Client, seen: Seen) -> None:
    """Note each request of a client."""
    api = client._firestore_api

    def noted(name: str) -> Callable[..., Any]:
        call = getattr(api, name)

        def send(*values: Any, **named: Any) -> Any:
            request = named.get("request") or values[0]
            if name in ("commit", "batch_write"):
                writes = request["writes"] if isinstance(request, dict) else request.writes
                seen.add(of_writes({"writes": writes}))
            else:
                seen.add(_OF_CALL[name])
            return call(*values, **named)

        return send

    for name in ("commit", "batch_write", *_OF_CALL):
        setattr(api, name, noted(name))


def test_firestore_is_asked_for_what_the_table_says(firestore: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    project, seen = f"test-{uuid.uuid4().hex[:12]}", Seen()
    jobs, documents = job_store.connect(project), document_store.connect(project)
    watch_firestore(jobs._client, seen)
    watch_firestore(documents._client, seen)
    with seen.method("jobs", "create"):
        step = created(jobs)
        with pytest.raises(PipelineError):
            created(jobs)
    with seen.method("jobs", "update"):
        told(jobs, JobCanceled())
    with seen.method("jobs", "get"):
        jobs.get("job_1")
    with seen.method("jobs", "list"):
        jobs.list(states=[JobState.RUNNING])
        jobs.list(of=Selection(tenant_id="tenant"))
    with seen.method("jobs", "count"):
        jobs.count(JobState.RUNNING)
    with seen.method("jobs", "unpublished"):
        jobs.unpublished()
    with seen.method("jobs", "mark_published"):
        jobs.mark_published(event.id for event in step.events)
    with seen.method("jobs", "erase_history"):
        jobs.erase_history("job_1")
    with seen.method("jobs", "bookmark"):
        jobs.bookmark("sweep")
    with seen.method("jobs", "set_bookmark"):
        jobs.set_bookmark("sweep", "job_1")
    note = Note(document_id="a", tenant_id="t")
    with seen.method("documents", "create"):
        documents.create(note)
        with pytest.raises(PipelineError):
            documents.create(note)
    with seen.method("documents", "get"):
        documents.get(Note, "a")
    with seen.method("documents", "update"):
        documents.update(Note, "a", lambda before: before.model_copy(update={"text": "b"}))
    with seen.method("documents", "find"):
        documents.find(Note, tenant_id="t")
    with seen.method("documents", "due"):
        documents.due(Note, datetime.now(UTC))
    with seen.method("documents", "delete"):
        documents.delete(Note, "a")
    with seen.method("documents", "purge"):
        documents.purge(datetime.now(UTC))
    assert seen.permissions == {method: set(permissions) for method, permissions in FIRESTORE.items()}


def test_cloud_storage_is_asked_for_what_the_table_says(gcs: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    store, seen = object_store.connect("test"), Seen()
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    store._client.create_bucket(bucket)
    session = store._client._http
    send = session.request

    def noted(method: str, url: str, *values: Any, **named: Any) -> Any:
        seen.add({permission for pattern, permission in _OF_REQUEST if pattern.match(f"{method} {url}")})
        return send(method, url, *values, **named)

    monkeypatch.setattr(session, "request", noted)
    ref = ObjectRef(bucket=bucket, name="t/job/words.json")
    with seen.method("write"):
        store.write(ref, b"{}", content_type="application/json")
        with pytest.raises(PipelineError, match="exists"):
            store.write(ref, b"{}", content_type="application/json")
    with seen.method("stat"):
        store.stat(ref)
    with seen.method("read"):
        store.read(ref)
    with seen.method("delete"):
        store.delete(ref)
    asked = {method: set(needed) - _TOLD_OF_MISSING for method, needed in STORAGE.items()}
    # Signing asks nothing of Cloud Storage: whoever has the URL does.
    assert seen.permissions == {method: needed for method, needed in asked.items() if not method.startswith("sign_")}
