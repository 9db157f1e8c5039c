"""Status documents in Firestore, where apps can listen to them, and the outbox beside them.

Who may read what is in ``firestore.rules``; the indexes of the queries below are in ``firestore.indexes.json``.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from google.api_core import exceptions as api
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from infra.gcp.failures import translated
from infra.gcp.optimistic import Bounds, Collection, Snapshot, insist, is_storable, run_query
from shared.advance import Step
from shared.errors import PipelineError
from shared.events import Event
from shared.jobs import Job, JobState, Selection

T = TypeVar("T")

# A published event stays in the outbox for so long, as its job's history.
HISTORY = timedelta(days=30)
MAX_WRITES = 500
NOT_FOUND = 5  # google.rpc.Code
# A field beside the job's own, by which jobs are found that have a pair of metadata.
LABELS = "labels"


class FirestoreJobStore:
    """Implements :class:`shared.ports.JobStore`.

    ``jobs/{job_id}`` holds a job as maps and timestamps of Firestore's own. ``outbox/{event_id}`` holds an event, and
    ``waiting_since`` until it is published. ``bookmarks/{name}`` holds where a walk was broken off. A change is an
    optimistic one: it is committed, with its events, only on the version of the document that it was made from.

    Args:
        client: Of the database; its own retries are not used.
    """

    is_near = False

    def __init__(self, client: firestore.Client) -> None:
        self._client = client
        self._collection = Collection(client, "jobs", _refusal, "job.conflict")
        self._jobs = self._collection.reference
        self._outbox = client.collection("outbox")
        self._bookmarks = client.collection("bookmarks")

    def create(self, step: Step) -> None:
        """Store a new job and its events."""
        self._collection.create(step.job.job_id, _fields(step.job), lambda batch: self._add_to_outbox(batch, step))

    def get(self, job_id: str) -> Job:
        """The job as last committed."""
        return _job(self._collection.get(job_id))

    def update(self, job_id: str, change: Callable[[Job], Step]) -> Step:
        """Apply a change to the latest version, and commit it unless there is a later one by then."""

        def changed(snapshot: Snapshot) -> tuple[Job, Step]:
            before = _job(snapshot)
            return before, change(before)

        def fields(result: tuple[Job, Step]) -> dict[str, Any] | None:
            before, step = result
            return None if step.job is before else _fields(step.job)

        return self._collection.update(
            job_id, changed, fields, lambda batch, result: self._add_to_outbox(batch, result[1])
        )[1]

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
        if of is not None:
            return self._select(of, states or tuple(JobState), limit, after, down_to)
        query = _in_states(self._jobs, states) if states else self._jobs
        query = query.order_by("job_id", direction=firestore.Query.DESCENDING).limit(limit)
        if after is not None:
            query = query.start_after({"job_id": after})
        return [_job(snapshot) for snapshot in run_query(query)]

    def _select(
        self, of: Selection, states: Sequence[JobState], limit: int, after: str | None, down_to: str | None
    ) -> Sequence[Job]:
        """Jobs of a tenant. An index finds one pair of their metadata; who has all of them is looked at here."""
        query = self._jobs.where(filter=FieldFilter("tenant_id", "==", of.tenant_id))
        if of.owner_id is not None:
            query = query.where(filter=FieldFilter("owner_id", "==", of.owner_id))
        if of.metadata:
            query = query.where(filter=FieldFilter(LABELS, "array_contains", _labels(of.metadata)[0]))
        query = _in_states(query, states).order_by("job_id", direction=firestore.Query.DESCENDING).limit(limit)
        if down_to is not None:
            query = query.end_at({"job_id": down_to})
        found: list[Job] = []
        while True:
            page = [_job(snapshot) for snapshot in run_query(query.start_after({"job_id": after}) if after else query)]
            found += [job for job in page if of.metadata.items() <= job.metadata.items()]
            if len(page) < limit or len(found) >= limit:
                return found[:limit]
            after = page[-1].job_id

    def count(self, *states: JobState, tenant_id: str | None = None, limit: int = 10_000) -> int:
        """How many jobs are in these states."""
        jobs = self._jobs if tenant_id is None else self._jobs.where(filter=FieldFilter("tenant_id", "==", tenant_id))
        query = _in_states(jobs, states or tuple(JobState)).limit(limit).count("jobs")
        with translated("Firestore"):
            found = insist(lambda bounds: query.get(**bounds()))
        return int(found[0][0].value)

    def unpublished(self, *, limit: int = 100, job_id: str | None = None) -> Sequence[Event]:
        """Events of the outbox that wait: a query by a field finds only documents that have it."""
        query = self._outbox.limit(limit)
        if job_id is None:
            query = query.order_by("waiting_since").order_by("revision").order_by("position")
        else:
            query = query.where(filter=FieldFilter("job_id", "==", job_id))
            query = query.order_by("revision").order_by("position").order_by("waiting_since")
        return [_event(snapshot) for snapshot in run_query(query)]

    def mark_published(self, event_ids: Iterable[str]) -> None:
        """Take events out of the outbox, leaving them as history for a while."""
        documents = [quote(event_id, safe="") for event_id in dict.fromkeys(event_ids)]
        known = [document for document in documents if is_storable(document)]
        published = {"waiting_since": firestore.DELETE_FIELD, "expires_at": datetime.now(UTC) + HISTORY}
        for page in _pages(known):

            def attempt(bounds: Callable[[], Bounds], page: Sequence[str] = page) -> None:
                batch = BulkWriteBatch(self._client)
                for document in page:
                    batch.update(self._outbox.document(document), published)
                for status in batch.commit(**bounds()).status:
                    if status.code not in (0, NOT_FOUND):
                        raise PipelineError("service.unavailable", f"Firestore did not write: {status.code}.")

            with translated("Firestore"):
                insist(attempt)

    def erase_history(self, job_id: str) -> None:
        """Remove published events of a job."""
        query = self._outbox.where(filter=FieldFilter("job_id", "==", job_id))
        for page in _pages([found for found in run_query(query) if "waiting_since" not in (found.to_dict() or {})]):

            def attempt(bounds: Callable[[], Bounds], page: Sequence[Snapshot] = page) -> None:
                batch = self._client.batch()
                for snapshot in page:
                    batch.delete(snapshot.reference)
                batch.commit(**bounds())

            with translated("Firestore"):
                insist(attempt, (api.Aborted,))

    def bookmark(self, name: str) -> str | None:
        """Where a walk goes on."""
        with translated("Firestore"):
            snapshot = insist(lambda bounds: self._bookmarks.document(name).get(**bounds()))
        return (snapshot.to_dict() or {}).get("job_id")

    def set_bookmark(self, name: str, job_id: str | None) -> None:
        """Keep where a walk was broken off."""
        with translated("Firestore"):
            insist(lambda bounds: self._bookmarks.document(name).set({"job_id": job_id}, **bounds()))

    def history(self, job_id: str) -> Sequence[Event]:
        """Every event a job has caused in order, published or not, until 30 days after it was published."""
        query = self._outbox.where(filter=FieldFilter("job_id", "==", job_id))
        return [_event(snapshot) for snapshot in run_query(query.order_by("revision").order_by("position"))]

    def _add_to_outbox(self, batch: firestore.WriteBatch, step: Step) -> None:
        for position, event in enumerate(step.events):
            fields = {
                "job_id": event.jobid,
                "revision": step.job.revision,
                "position": position,
                "event": event.to_json(),
                "waiting_since": firestore.SERVER_TIMESTAMP,
            }
            batch.create(self._outbox.document(quote(event.id, safe="")), fields)


def connect(project: str, database: str = "(default)") -> FirestoreJobStore:
    """The store of a project. ``FIRESTORE_EMULATOR_HOST`` is honoured.

    Raises:
        PipelineError: ``service.unavailable`` where no credentials are found.
    """
    with translated("Firestore"):
        return FirestoreJobStore(firestore.Client(project=project, database=database))


def _pages(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many items at a time as one commit takes."""
    for start in range(0, len(items), MAX_WRITES):
        yield items[start : start + MAX_WRITES]


def _refusal(reason: str, job_id: str) -> PipelineError:
    message = f"There is no job '{job_id}'." if reason == "not_found" else None
    return PipelineError(f"job.{reason}", message, job_id=job_id)


def _in_states(query: Any, states: Sequence[JobState]) -> Any:
    return query.where(filter=FieldFilter("state", "in", [str(state) for state in states]))


def _fields(job: Job) -> dict[str, Any]:
    return {**job.model_dump(), LABELS: _labels(job.metadata)}


def _labels(metadata: Mapping[str, str]) -> list[str]:
    """One short text for each name and value of a job's metadata: callers choose the names, and an index must not."""
    return [hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:32] for name, value in metadata.items()]


def _job(snapshot: Snapshot) -> Job:
    return Job.from_data(snapshot.to_dict())


def _event(snapshot: Snapshot) -> Event:
    return Event.from_json((snapshot.to_dict() or {})["event"])
