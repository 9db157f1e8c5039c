"""Changes of Firestore documents: optimistic, bounded in time, and made once though an answer is lost.

A change is committed only on the version of the document that it was made from. Each commit leaves a mark of its own in
the document, by which a later attempt sees that an earlier one succeeded though nobody was told.
"""

import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypedDict, TypeVar

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from infra.gcp.failures import translated
from shared.errors import PipelineError

T = TypeVar("T")
Snapshot: TypeAlias = "firestore.DocumentSnapshot[Any]"


# How long one call goes on trying, and how long it waits for one answer.
PATIENCE_S = 6.0
ANSWER_S = 3.0
# The field with the marks of the latest commits.
COMMITS = "recent_commits"
# More than others could write while one call is patient.
KEPT_COMMITS = 20

# The service may think otherwise a moment later. After some of these nobody knows whether a commit was made.
_PASSING = (api.ServerError, api.TooManyRequests)
CONFLICT = (api.FailedPrecondition, api.Aborted)
# What Firestore takes as an id of a document.
_ID = re.compile(r"(?!\.\.?$|__.*__$)[^/]+", re.DOTALL)
_MAX_ID_BYTES = 1500
# The client's own retries would hide a lost answer, and have no common limit.
_ONCE = Retry(predicate=if_exception_type())


class Bounds(TypedDict):
    """Of one request."""

    retry: Retry
    timeout: float


def insist(attempt: Callable[[Callable[[], Bounds]], T], also: tuple[type[Exception], ...] = ()) -> T:
    """Call until it answers, fails for good, or time is up; each request in it asks anew how long it may take."""
    ends = time.monotonic() + PATIENCE_S
    retrying = Retrying(
        retry=retry_if_exception_type((*_PASSING, *also)),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        reraise=True,
    )

    def bounds() -> Bounds:
        return {"retry": _ONCE, "timeout": max(0.1, min(ANSWER_S, ends - time.monotonic()))}

    return retrying(attempt, bounds)


def run_query(query: Any) -> Sequence[Snapshot]:
    """All that a query finds."""
    # A query is refused so while its index is not there or still being built: someone mends it.
    with translated("Firestore", {api.FailedPrecondition: "service.unavailable"}):
        return list(insist(lambda bounds: query.get(**bounds())))


def is_storable(document_id: str) -> bool:
    """Whether Firestore takes this as an id."""
    return bool(_ID.fullmatch(document_id)) and len(document_id.encode()) <= _MAX_ID_BYTES


class Collection:
    """Documents that are created and changed once.

    Args:
        client: Of the database; its own retries are not used.
        name: Of the collection.
        refusal: The error for an id: that it is ``not_found``, or ``exists``.
        conflict: Code of the error when contention does not end.
    """

    def __init__(
        self, client: firestore.Client, name: str, refusal: Callable[[str, str], PipelineError], conflict: str
    ) -> None:
        self._client = client
        self.reference = client.collection(name)
        self._refusal = refusal
        self._conflict = conflict

    def create(self, document_id: str, fields: dict[str, Any], add: Callable[[firestore.WriteBatch], None]) -> None:
        """Create a document, and write what ``add`` adds to the same transaction."""
        commit_id = secrets.token_hex(8)

        def attempt(bounds: Callable[[], Bounds]) -> None:
            batch = self._client.batch()
            batch.create(self.reference.document(document_id), {**fields, COMMITS: [commit_id]})
            add(batch)
            try:
                batch.commit(**bounds())
            except api.AlreadyExists as error:
                # It may be there because the answer to an earlier attempt was lost.
                if commit_id not in _commits(self.read(document_id, bounds())):
                    raise self._refusal("exists", document_id) from error

        with translated("Firestore"):
            insist(attempt, (api.Aborted,))

    def get(self, document_id: str) -> Snapshot:
        """A document as last committed."""
        with translated("Firestore"):
            return insist(lambda bounds: self.read(document_id, bounds()))

    def update(
        self,
        document_id: str,
        change: Callable[[Snapshot], T],
        fields: Callable[[T], dict[str, Any] | None],
        add: Callable[[firestore.WriteBatch, T], None],
    ) -> T:
        """Apply a change to the latest version, and commit it unless there is a later one by then.

        Args:
            document_id: Of what is changed.
            change: Makes the result; called for each version that is tried.
            fields: Of the document with this result; ``None`` to write nothing.
            add: Adds to the transaction what else this result writes.
        """
        attempts: dict[str, T] = {}

        def attempt(bounds: Callable[[], Bounds]) -> T:
            snapshot = self.read(document_id, bounds())
            commits = _commits(snapshot)
            # An earlier attempt whose answer was lost may have succeeded. Then this is its result.
            if (made := next((commit for commit in commits if commit in attempts), None)) is not None:
                return attempts[made]
            result = change(snapshot)
            if (after := fields(result)) is not None:
                commit_id = secrets.token_hex(8)
                attempts[commit_id] = result
                self._commit(snapshot, {**after, COMMITS: [*commits, commit_id][-KEPT_COMMITS:]}, add, result, bounds())
            return result

        with translated("Firestore", dict.fromkeys(CONFLICT, self._conflict)):
            return insist(attempt, CONFLICT)

    def read(self, document_id: str, bounds: Bounds) -> Snapshot:
        """One look at a document."""
        if is_storable(document_id):
            snapshot = self.reference.document(document_id).get(**bounds)
            if snapshot.exists:
                return snapshot
        raise self._refusal("not_found", document_id)

    def _commit(
        self,
        before: Snapshot,
        fields: dict[str, Any],
        add: Callable[[firestore.WriteBatch, T], None],
        result: T,
        bounds: Bounds,
    ) -> None:
        unchanged = self._client.write_option(last_update_time=before.update_time)
        batch = self._client.batch()
        batch.update(before.reference, fields, option=unchanged)
        add(batch, result)
        try:
            batch.commit(**bounds)
        except api.NotFound as error:
            raise self._refusal("not_found", before.id) from error


def _commits(snapshot: Snapshot) -> Sequence[str]:
    return tuple((snapshot.to_dict() or {}).get(COMMITS, ()))
