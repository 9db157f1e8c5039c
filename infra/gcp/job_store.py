"""Status documents in Firestore, where apps can listen to them, and the outbox beside them.

Who may read what is in ``firestore.rules``; the indexes of the queries below are in ``firestore.indexes.json``.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from infra.gcp.failures import translated
from shared.advance import Step
from shared.errors import PipelineError
from shared.events import Event
from shared.jobs import Job, JobState

T = TypeVar("T")
_Snapshot: TypeAlias = "firestore.DocumentSnapshot[Any]"

# How long one call of the store goes on trying, and how long it waits for one answer.
PATIENCE_S = 6.0
ANSWER_S = 3.0
# A published event stays in the outbox for so long, as its job's history.
HISTORY = timedelta(days=30)

# A field of the document that is not of the job: which commits made its latest revisions.
COMMITS = "recent_commits"
# More than others could write while one call is patient.
KEPT_COMMITS = 20
MAX_WRITES = 500
NOT_FOUND = 5  # google.rpc.Code

# The service may think otherwise a moment later. After some of these nobody knows whether a commit was made.
_PASSING = (api.ServerError, api.TooManyRequests)
_CONFLICT = (api.FailedPrecondition, api.Aborted)
# What Firestore takes as an id of a document.
_ID = re.compile(r"(?!\.\.?$|__.*__$)[^/]+", re.DOTALL)
_MAX_ID_BYTES = 1500
# The client's own retries would hide a lost answer, and have no common limit.
_ONCE = Retry(predicate=if_exception_type())


class _Bounds(TypedDict):
    retry: Retry
    timeout: float


class FirestoreJobStore:
    """Implements :class:`shared.ports.JobStore`.

    ``jobs/{job_id}`` holds a job as maps and timestamps of Firestore's own. ``outbox/{event_id}`` holds an event, and
    ``waiting_since`` until it is published. ``bookmarks/{name}`` holds where a walk was broken off. A change is an
    optimistic one: it is committed, with its events, only on the version of the document that it was made from.

    Args:
        client: Of the database; its own retries are not used.
    """

    def __init__(self, client: firestore.Client) -> None:
        self._client = client
        self._jobs = client.collection("jobs")
        self._outbox = client.collection("outbox")
        self._bookmarks = client.collection("bookmarks")

    def create(self, step: Step) -> None:
        """Store a new job and its events."""
        job_id, commit_id = step.job.job_id, secrets.token_hex(8)

        def attempt(bounds: Callable[[], _Bounds]) -> None:
            batch = self._client.batch()
            batch.create(self._jobs.document(job_id), _document(step.job, (commit_id,)))
            self._add_to_outbox(batch, step)
            try:
                batch.commit(**bounds())
            except api.AlreadyExists as error:
                # It may be there because the answer to an earlier attempt was lost.
                if commit_id not in _commits(self._read(job_id, bounds())):
                    raise PipelineError("job.exists", job_id=job_id) from error

        with translated("Firestore"):
            _insist(attempt, (api.Aborted,))

    def get(self, job_id: str) -> Job:
        """The job as last committed."""
        with translated("Firestore"):
            return _job(_insist(lambda bounds: self._read(job_id, bounds())))

    def update(self, job_id: str, change: Callable[[Job], Step]) -> Step:
        """Apply a change to the latest version, and commit it unless there is a later one by then."""
        attempts: dict[str, Step] = {}

        def attempt(bounds: Callable[[], _Bounds]) -> Step:
            snapshot = self._read(job_id, bounds())
            commits = _commits(snapshot)
            # An earlier attempt whose answer was lost may have succeeded. Then this is its result.
            if made := next((attempts[commit_id] for commit_id in commits if commit_id in attempts), None):
                return made
            before = _job(snapshot)
            step = change(before)
            if step.job is not before:
                commit_id = secrets.token_hex(8)
                attempts[commit_id] = step
                self._commit(snapshot, step, (*commits, commit_id), bounds())
            return step

        with translated("Firestore", dict.fromkeys(_CONFLICT, "job.conflict")):
            return _insist(attempt, _CONFLICT)

    def list(self, *, states: Sequence[JobState] = (), limit: int = 100, after: str | None = None) -> Sequence[Job]:
        """Jobs by id."""
        query = self._jobs.order_by("job_id", direction=firestore.Query.DESCENDING).limit(limit)
        if states:
            query = query.where(filter=FieldFilter("state", "in", [str(state) for state in states]))
        if after is not None:
            query = query.start_after({"job_id": after})
        return [_job(snapshot) for snapshot in _run(query)]

    def unpublished(self, *, limit: int = 100, job_id: str | None = None) -> Sequence[Event]:
        """Events of the outbox that wait: a query by a field finds only documents that have it."""
        query = self._outbox.limit(limit)
        if job_id is None:
            query = query.order_by("waiting_since").order_by("revision").order_by("position")
        else:
            query = query.where(filter=FieldFilter("job_id", "==", job_id))
            query = query.order_by("revision").order_by("position").order_by("waiting_since")
        return [_event(snapshot) for snapshot in _run(query)]

    def mark_published(self, event_ids: Iterable[str]) -> None:
        """Take events out of the outbox, leaving them as history for a while."""
        documents = [quote(event_id, safe="") for event_id in dict.fromkeys(event_ids)]
        known = [document for document in documents if _is_storable(document)]
        published = {"waiting_since": firestore.DELETE_FIELD, "expires_at": datetime.now(UTC) + HISTORY}
        for page in _pages(known):

            def attempt(bounds: Callable[[], _Bounds], page: Sequence[str] = page) -> None:
                batch = BulkWriteBatch(self._client)
                for document in page:
                    batch.update(self._outbox.document(document), published)
                for status in batch.commit(**bounds()).status:
                    if status.code not in (0, NOT_FOUND):
                        raise PipelineError("service.unavailable", f"Firestore did not write: {status.code}.")

            with translated("Firestore"):
                _insist(attempt)

    def erase_history(self, job_id: str) -> None:
        """Remove published events of a job."""
        query = self._outbox.where(filter=FieldFilter("job_id", "==", job_id))
        for page in _pages([found for found in _run(query) if "waiting_since" not in (found.to_dict() or {})]):

            def attempt(bounds: Callable[[], _Bounds], page: Sequence[_Snapshot] = page) -> None:
                batch = self._client.batch()
                for snapshot in page:
                    batch.delete(snapshot.reference)
                batch.commit(**bounds())

            with translated("Firestore"):
                _insist(attempt, (api.Aborted,))

    def bookmark(self, name: str) -> str | None:
        """Where a walk goes on."""
        with translated("Firestore"):
            snapshot = _insist(lambda bounds: self._bookmarks.document(name).get(**bounds()))
        return (snapshot.to_dict() or {}).get("job_id")

    def set_bookmark(self, name: str, job_id: str | None) -> None:
        """Keep where a walk was broken off."""
        with translated("Firestore"):
            _insist(lambda bounds: self._bookmarks.document(name).set({"job_id": job_id}, **bounds()))

    def history(self, job_id: str) -> Sequence[Event]:
        """Every event a job has caused in order, published or not, until 30 days after it was published."""
        query = self._outbox.where(filter=FieldFilter("job_id", "==", job_id))
        return [_event(snapshot) for snapshot in _run(query.order_by("revision").order_by("position"))]

    def _read(self, job_id: str, bounds: _Bounds) -> _Snapshot:
        if _is_storable(job_id):
            snapshot = self._jobs.document(job_id).get(**bounds)
            if snapshot.exists:
                return snapshot
        raise PipelineError("job.not_found", f"There is no job '{job_id}'.", job_id=job_id)

    def _commit(self, before: _Snapshot, step: Step, commits: Sequence[str], bounds: _Bounds) -> None:
        unchanged = self._client.write_option(last_update_time=before.update_time)
        batch = self._client.batch()
        batch.update(before.reference, _document(step.job, commits[-KEPT_COMMITS:]), option=unchanged)
        self._add_to_outbox(batch, step)
        try:
            batch.commit(**bounds)
        except api.NotFound as error:
            raise PipelineError("job.not_found", job_id=before.id) from error

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


def _insist(attempt: Callable[[Callable[[], _Bounds]], T], also: tuple[type[Exception], ...] = ()) -> T:
    """Call until it answers, fails for good, or time is up; each request in it asks anew how long it may take."""
    ends = time.monotonic() + PATIENCE_S
    retrying = Retrying(
        retry=retry_if_exception_type((*_PASSING, *also)),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        reraise=True,
    )

    def bounds() -> _Bounds:
        return {"retry": _ONCE, "timeout": max(0.1, min(ANSWER_S, ends - time.monotonic()))}

    return retrying(attempt, bounds)


def _pages(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many items at a time as one commit takes."""
    for start in range(0, len(items), MAX_WRITES):
        yield items[start : start + MAX_WRITES]


def _run(query: Any) -> Sequence[_Snapshot]:
    # A query is refused so while its index is not there or still being built: someone mends it.
    with translated("Firestore", {api.FailedPrecondition: "service.unavailable"}):
        return list(_insist(lambda bounds: query.get(**bounds())))


def _document(job: Job, commits: Sequence[str]) -> dict[str, Any]:
    return {**job.model_dump(), COMMITS: list(commits)}


def _job(snapshot: _Snapshot) -> Job:
    return Job.from_data(snapshot.to_dict())


def _commits(snapshot: _Snapshot) -> Sequence[str]:
    return tuple((snapshot.to_dict() or {}).get(COMMITS, ()))


def _event(snapshot: _Snapshot) -> Event:
    return Event.from_json((snapshot.to_dict() or {})["event"])


def _is_storable(document_id: str) -> bool:
    return bool(_ID.fullmatch(document_id)) and len(document_id.encode()) <= _MAX_ID_BYTES
