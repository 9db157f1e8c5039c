"""Small documents on Firestore: an index for each of their queries, and a policy that removes what has expired."""

import pytest

from infra.gcp.document_store import FirestoreDocumentStore
from shared.audit import AuditEntry
from shared.keys import ApiKey
from shared.repeats import KeptAnswer
from shared.retention import Retention
from shared.usage import UsageEntry
from shared.webhooks import Delivery, Endpoint
from tests.contract.stories import NOW
from tests.contract.test_firestore_job_store import (
    INDEXED_ALONE,
    INDEXES,
    Queries,
    WatchedClient,
    declared_indexes,
    needed_index,
)
from tests.emulators import Emulator


def test_every_list_of_documents_has_its_index(firestore: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    watcher = Queries()
    documents = FirestoreDocumentStore(WatchedClient("test-indexes", watcher))
    for kind in (ApiKey, AuditEntry, Endpoint, UsageEntry):
        documents.find(kind, tenant_id="t")
    for equal in ({"tenant_id": "t", "endpoint_id": "e"}, {"tenant_id": "t", "job_id": "j"}, {"state": "s"}):
        documents.find(Delivery, **equal)
    documents.find(Delivery, tenant_id="t", endpoint_id="e", state="s")
    documents.due(Retention, NOW)
    needed = {index for query in watcher.sent if (index := needed_index(query))}
    assert needed == {index for index in declared_indexes() if index[0] not in INDEXED_ALONE}


def test_every_document_vanishes_once_it_has_expired() -> None:
    kinds = {ApiKey, AuditEntry, Delivery, Endpoint, KeptAnswer, Retention, UsageEntry}
    lasting = {row["collectionGroup"] for row in INDEXES["fieldOverrides"] if row.get("ttl")}
    assert {kind.collection for kind in kinds} <= lasting
