"""What the store on Firestore promises beyond the contract: lost answers, bounded time, and indexes for its queries."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import firestore as google_firestore
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.base_query import FieldFilter

from infra.gcp import job_store
from infra.gcp.job_store import LABELS, FirestoreJobStore, connect
from infra.gcp.optimistic import COMMITS
from shared.advance import Step, advance
from shared.errors import PipelineError
from shared.events import JobCanceled, MediaReceived
from shared.jobs import Job, JobState, Selection
from tests.clouds import wait_for
from tests.contract.stories import NOW, UPLOADED, created, told
from tests.emulators import Emulator, free_port

INDEXES = json.loads((Path(job_store.__file__).parent / "firestore.indexes.json").read_text())
# What a query may filter by, alone; all else is found by composite indexes, or not at all.
INDEXED_ALONE = {"jobs": {"job_id", "tenant_id", "owner_id", "state"}, "outbox": {"job_id"}}
BOUND_S = 10.0


class Line:
    """A TCP line to an emulator on which answers can get lost."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Let requests through, and keep answers back from now on."""
        self._passing.clear()

    def cut(self) -> None:
        """Break every connection, with the answers kept back. New ones work."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._passing.set()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                self._pairs.append((client, server))
                threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, self._passing), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, passing: threading.Event | None) -> None:
        with suppress(OSError), source:
            while data := source.recv(65536):
                if passing:
                    passing.wait()
                sink.sendall(data)


@pytest.fixture
def project() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def line(firestore: Emulator) -> Iterator[Line]:
    with closing(Line(firestore.port)) as line:
        yield line


@pytest.fixture
def direct(firestore: Emulator, project: str, monkeypatch: pytest.MonkeyPatch) -> FirestoreJobStore:
    return at(firestore.host, project, monkeypatch)


@pytest.fixture
def store(line: Line, project: str, monkeypatch: pytest.MonkeyPatch, direct: FirestoreJobStore) -> FirestoreJobStore:
    store = at(f"127.0.0.1:{line.port}", project, monkeypatch)
    assert list(store.list()) == []  # connected
    return store


def at(host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> FirestoreJobStore:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    return connect(project)


@contextmanager
def answer_lost(line: Line, work: Callable[[], Any], until: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do work whose commit succeeds, and cut its line before it hears so; what it returned is in the list."""
    returned: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        wait_for(until)
        yield returned
        line.cut()
        returned.append(future.result(30))


def exists(store: FirestoreJobStore) -> bool:
    try:
        return bool(store.get("job_1"))
    except PipelineError as error:
        assert error.code == "job.not_found"
        return False


def test_a_job_whose_creation_was_not_answered_is_created_once(
    line: Line, store: FirestoreJobStore, direct: FirestoreJobStore
) -> None:
    line.hold()
    with answer_lost(line, lambda: created(store), lambda: exists(direct)) as returned:
        pass
    assert returned[0].job == direct.get("job_1")
    assert [event.type for event in direct.unpublished()] == ["job.created"]
    with pytest.raises(PipelineError) as refused:
        created(store)
    assert refused.value.code == "job.exists"


@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_change_whose_commit_was_not_answered_is_made_once(
    line: Line, store: FirestoreJobStore, direct: FirestoreJobStore, others: int
) -> None:
    """Even if others have changed the job by the time it is tried again."""
    created(direct)
    seen: list[int] = []

    def change(job: Job) -> Step:
        seen.append(job.revision)
        line.hold()
        after = advance(job, JobCanceled(), NOW) if job.revision == 1 else Step(job)
        return Step(after.job, after.events, dispatch=("transcribe",))

    def grow(job: Job) -> Step:
        return Step(job.model_copy(update={"revision": job.revision + 1}))

    with answer_lost(
        line, lambda: store.update("job_1", change), lambda: direct.get("job_1").revision == 2
    ) as returned:
        for _ in range(others):
            direct.update("job_1", grow)
    assert seen == [1]
    (step,) = returned
    assert (step.job.revision, step.dispatch) == (2, ("transcribe",))
    assert direct.get("job_1").revision == 2 + others
    assert [event.type for event in direct.unpublished()] == ["job.created", "job.canceled"]


def test_marking_that_was_not_answered_is_done_again(
    line: Line, store: FirestoreJobStore, direct: FirestoreJobStore
) -> None:
    created(direct)
    line.hold()
    with answer_lost(line, lambda: store.mark_published(["job_1/1/job.created"]), lambda: not direct.unpublished()):
        pass
    assert list(direct.unpublished()) == []
    assert len(direct.history("job_1")) == 1


def test_a_job_that_always_changes_is_a_conflict(store: FirestoreJobStore, direct: FirestoreJobStore) -> None:
    created(direct)

    def change(job: Job) -> Step:
        direct.update("job_1", lambda job: Step(job.model_copy(update={"revision": job.revision + 1})))
        return Step(job.model_copy(update={"owner_id": "me"}))

    began = time.monotonic()
    with pytest.raises(PipelineError) as refused:
        store.update("job_1", change)
    assert (refused.value.code, refused.value.retryable) == ("job.conflict", True)
    assert time.monotonic() - began < BOUND_S
    assert direct.get("job_1").owner_id == ""


def test_a_job_that_is_deleted_before_the_commit_is_not_found(
    store: FirestoreJobStore, project: str, direct: FirestoreJobStore
) -> None:
    created(direct)

    def change(job: Job) -> Step:
        google_firestore.Client(project=project).collection("jobs").document("job_1").delete()
        return advance(job, JobCanceled(), NOW)

    with pytest.raises(PipelineError) as refused:
        store.update("job_1", change)
    assert refused.value.code == "job.not_found"
    assert [event.type for event in direct.unpublished()] == ["job.created"]


@contextmanager
def _nobody() -> Iterator[int]:
    yield free_port()


@contextmanager
def _mute() -> Iterator[int]:
    """One who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("service", [_nobody, _mute], ids=["closed", "mute"])
def test_an_unreachable_service_is_said_to_be_so_in_time(
    service: Callable[[], Any], project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(call: Callable[[], Any]) -> tuple[str, float]:
        began = time.monotonic()
        with pytest.raises(PipelineError) as raised:
            call()
        return raised.value.code, time.monotonic() - began

    with service() as port:
        store = at(f"127.0.0.1:{port}", project, monkeypatch)
        calls: list[Callable[[], Any]] = [
            lambda: created(store),
            lambda: store.get("job_1"),
            lambda: told(store, JobCanceled()),
            lambda: store.list(),
            lambda: store.unpublished(),
            lambda: store.unpublished(job_id="job_1"),
            lambda: store.mark_published(f"job_1/{number}/job.created" for number in range(1100)),
            lambda: store.history("job_1"),
        ]
        with ThreadPoolExecutor(len(calls)) as pool:
            outcomes = list(pool.map(code, calls))
    assert [found for found, _ in outcomes] == ["service.unavailable"] * len(calls)
    assert max(seconds for _, seconds in outcomes) < BOUND_S


def test_a_deployment_without_credentials_is_told_so(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(PipelineError) as refused:
        connect(project)
    assert refused.value.code == "service.unavailable"


def test_a_document_can_be_listened_to_and_searched(direct: FirestoreJobStore, project: str) -> None:
    """Its fields are Firestore's own, not text: that is what apps rely on."""
    created(direct, owner_id="ada")
    told(direct, MediaReceived(object=UPLOADED))
    client = google_firestore.Client(project=project)
    fields = client.collection("jobs").document("job_1").get().to_dict()
    assert fields["stages"]["validate"]["started_at"] == fields["created_at"] == NOW
    assert (fields["owner_id"], fields["state"], fields["progress"]) == ("ada", "validating", 0.0)
    assert fields.keys() == {*Job.model_fields, COMMITS, LABELS}


def test_a_field_that_a_newer_version_has_added_stays(direct: FirestoreJobStore, project: str) -> None:
    created(direct)
    document = google_firestore.Client(project=project).collection("jobs").document("job_1")
    document.update({"faces": 3})
    told(direct, MediaReceived(object=UPLOADED))
    assert document.get().get("faces") == 3


def test_a_published_event_waits_no_more_and_expires(direct: FirestoreJobStore, project: str) -> None:
    created(direct)
    (document,) = google_firestore.Client(project=project).collection("outbox").get()
    assert "expires_at" not in document.to_dict()
    direct.mark_published(["job_1/1/job.created"])
    fields = document.reference.get().to_dict()
    assert "waiting_since" not in fields
    assert 29 < (fields["expires_at"] - document.get("waiting_since")).days <= 30
    expiring = [(row["collectionGroup"], row["fieldPath"]) for row in INDEXES["fieldOverrides"] if row.get("ttl")]
    assert ("outbox", "expires_at") in expiring


class Queries(grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Every query that a client sends."""

    def __init__(self) -> None:
        self.sent: list[types.StructuredQuery] = []

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        if details.method.endswith("/RunQuery"):
            self.sent.append(request.structured_query)
        return continuation(details, request)


class WatchedClient(google_firestore.Client):
    """A client whose requests can be looked at."""

    def __init__(self, project: str, watcher: Queries) -> None:
        super().__init__(project=project)
        self._watcher = watcher

    def _emulator_channel(self, transport: Any) -> Any:
        return grpc.intercept_channel(super()._emulator_channel(transport), self._watcher)


Index = tuple[str, tuple[tuple[str, str], ...]]


def needed_index(query: types.StructuredQuery) -> Index | None:
    """The composite index a query needs: fields it compares for equality, then those it sorts by, as it sorts them."""
    (source,) = query.from_
    composite = query.where.composite_filter.filters if "composite_filter" in query.where else ()
    filters = composite or ([query.where] if "field_filter" in query.where else [])
    operators = types.StructuredQuery.FieldFilter.Operator
    filters = [row for row in filters if row.field_filter.field.field_path != query.order_by[0].field.field_path]
    kinds = {operators.EQUAL: "ASCENDING", operators.IN: "ASCENDING", operators.ARRAY_CONTAINS: "CONTAINS"}
    equal = [(row.field_filter.field.field_path, kinds[row.field_filter.op]) for row in filters]
    order = [(row.field.field_path, row.direction.name) for row in query.order_by]
    return (source.collection_id, (*equal, *order)) if order and len(equal) + len(order) > 1 else None


def declared_indexes() -> list[Index]:
    """Every composite index of a database."""
    return [
        (
            row["collectionGroup"],
            tuple((field["fieldPath"], field.get("order") or field["arrayConfig"]) for field in row["fields"]),
        )
        for row in INDEXES["indexes"]
    ]


def test_every_query_has_its_index_and_every_index_its_query(
    firestore: Emulator, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator answers without indexes; the service would refuse."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.host)
    watcher = Queries()
    client = WatchedClient(project, watcher)
    store = FirestoreJobStore(client)
    for after in (None, "job_1"):
        store.list(after=after)
        store.list(states=[JobState.RUNNING], after=after)
        store.list(states=list(JobState), after=after)
        for of in (
            {},
            {"owner_id": "ada"},
            {"metadata": {"a": "1"}},
            {"owner_id": "ada", "metadata": {"a": "1", "b": "2"}},
        ):
            store.list(of=Selection(tenant_id="t", **of), after=after, down_to="job_0")
    store.unpublished()
    store.unpublished(job_id="job_1")
    store.history("job_1")
    # What LISTENING.md tells apps to ask.
    mine = client.collection("jobs").where(filter=FieldFilter("tenant_id", "==", "default"))
    mine = mine.where(filter=FieldFilter("owner_id", "==", "ada"))
    mine.order_by("job_id", direction=google_firestore.Query.DESCENDING).get()

    assert len(watcher.sent) == 18
    declared = {index for index in declared_indexes() if index[0] in INDEXED_ALONE}
    assert {index for query in watcher.sent if (index := needed_index(query))} == declared
    assert len(declared_indexes()) == len(set(declared_indexes()))
    alone = {(q.from_[0].collection_id, q.order_by[0].field.field_path) for q in watcher.sent if not needed_index(q)}
    assert all(field in INDEXED_ALONE[collection] for collection, field in alone)


def test_no_other_field_costs_an_index(direct: FirestoreJobStore, project: str) -> None:
    """Each would be written with every revision, and long texts and maps have limits of their own."""
    created(direct)
    client = google_firestore.Client(project=project)
    (event,) = client.collection("outbox").get()
    fields = {"jobs": {*Job.model_fields, COMMITS, LABELS}, "outbox": {*event.to_dict(), "expires_at"}}
    unindexed: dict[str, set[str]] = {"jobs": set(), "outbox": set()}
    for row in INDEXES["fieldOverrides"]:
        assert row["indexes"] == []
        unindexed.setdefault(row["collectionGroup"], set()).add(row["fieldPath"])
    assert {name: fields[name] - unindexed[name] for name in fields} == INDEXED_ALONE
    assert all(unindexed[name] <= fields[name] for name in fields)
