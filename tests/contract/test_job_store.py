"""What every job store promises.

``google-live`` runs against a real database, which it empties: name its project in ``EARWITNESS_TEST_PROJECT`` and, if
it is not to be called ``earwitness-tests``, the database in ``EARWITNESS_TEST_DATABASE``.
"""

import os
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from google.cloud import firestore

from infra.gcp.job_store import FirestoreJobStore, connect
from infra.local.database import Database
from infra.local.job_store import LocalJobStore
from shared.advance import MAX_MESSAGE_CHARACTERS, MAX_NOTICES, Step, advance
from shared.errors import ErrorInfo, PipelineError
from shared.events import (
    Event,
    JobCanceled,
    JobDeleted,
    MediaReceived,
    StageCompleted,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagesClaimed,
)
from shared.jobs import Job, JobState, Selection
from shared.ports import JobStore
from shared.stages import STAGES
from shared.transcript import Notice
from tests.contract.stories import NOW, UPLOADED, created, to_the_end, told, validated

WRITERS = 8
WRITES_EACH = 10
# No id of a job, nor of an event, and some of them no id that a database would take.
NO_IDS = ("unknown", "", ".", "..", "__all__", "a/b", "/", "job_1/", "job 1\n", "%2F", "ü" * 1000)


class Store(JobStore, Protocol):
    """A job store that also tells the history."""

    def history(self, job_id: str) -> Sequence[Event]: ...


@pytest.fixture(params=["local", "google", "google-live"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "local":
        return LocalJobStore(Database(tmp_path / "state.sqlite"))
    if request.param == "google":
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", request.getfixturevalue("firestore").host)
        return connect(f"test-{uuid.uuid4().hex[:12]}")
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    return live()


def live_client() -> firestore.Client:
    """Of a real database that is there for tests."""
    project = os.environ.get("EARWITNESS_TEST_PROJECT")
    if not project:
        pytest.skip("EARWITNESS_TEST_PROJECT names no project to test against")
    database = os.environ.get("EARWITNESS_TEST_DATABASE", "earwitness-tests")
    assert database != "(default)", "the tests empty their database"
    return firestore.Client(project=project, database=database)


def live() -> Store:
    client = live_client()
    for collection in ("jobs", "outbox", "bookmarks"):
        client.recursive_delete(client.collection(collection))
    return FirestoreJobStore(client)


def test_a_job_is_read_back_as_it_was_written(store: Store) -> None:
    step = created(store)
    assert store.get("job_1") == step.job
    for job in to_the_end(store):
        assert store.get("job_1") == job
    assert job.state is JobState.COMPLETED
    assert list(store.get("job_1").stages) == list(STAGES)


@pytest.mark.parametrize(
    "text", ["ünï 片", "🎧" * 200, "\u202e\u05e9\u05dc\u05d5\u05dd\u200b", "a\u0301 \\ \" ' ` {} / ~", "__name__"]
)
def test_any_text_is_kept(store: Store, text: str) -> None:
    created(store, filename=text, owner_id=text)
    validated(store)
    told(store, StagesClaimed(lease_s=60))
    told(store, StageProgressed(stage="transcribe", attempt=1, progress=0.5, partial_text=text))
    job = store.get("job_1")
    assert (job.filename, job.owner_id, job.partial_text) == (text, text, text)


def test_a_job_cannot_be_created_twice(store: Store) -> None:
    created(store)
    with pytest.raises(PipelineError) as refused:
        created(store, filename="another.wav")
    assert refused.value.code == "job.exists"
    assert store.get("job_1").filename == "片.wav"
    assert len(store.unpublished()) == len(store.history("job_1")) == 1


def test_only_one_of_many_creates_a_job(store: Store) -> None:
    def create(number: int) -> str | None:
        try:
            created(store, filename=f"{number}.wav")
        except PipelineError as error:
            return error.code
        return f"{number}.wav"

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(create, range(WRITERS)))
    assert outcomes.count("job.exists") == WRITERS - 1
    assert store.get("job_1").filename in outcomes
    assert len(store.unpublished()) == 1


@pytest.mark.parametrize("job_id", NO_IDS)
def test_an_unknown_job_is_not_found(store: Store, job_id: str) -> None:
    for call in (lambda: store.get(job_id), lambda: store.update(job_id, lambda job: Step(job))):
        with pytest.raises(PipelineError) as refused:
            call()
        assert refused.value.code == "job.not_found"


def test_a_change_and_its_events_commit_together(store: Store) -> None:
    created(store)
    store.mark_published(event.id for event in store.unpublished())
    step = told(store, JobCanceled())
    assert store.get("job_1").state is JobState.CANCELED
    assert [event.id for event in store.unpublished()] == [event.id for event in step.events] != []


def test_a_change_that_raises_leaves_nothing(store: Store) -> None:
    created(store)
    before, outbox = store.get("job_1"), list(store.unpublished())

    def fails(job: Job) -> Step:
        advance(job, JobCanceled(), NOW)
        raise PipelineError("media.corrupt")

    with pytest.raises(PipelineError) as raised:
        store.update("job_1", fails)
    assert raised.value.code == "media.corrupt"
    assert store.get("job_1") == before
    assert list(store.unpublished()) == outbox


def test_a_step_that_changes_nothing_writes_nothing(store: Store) -> None:
    created(store)
    told(store, StageProgressed(stage="transcribe", attempt=1, progress=0.5))
    assert store.get("job_1").revision == 1


def test_a_fact_that_comes_twice_changes_and_publishes_once(store: Store) -> None:
    created(store)
    validated(store)
    after, outbox = store.get("job_1"), list(store.unpublished())
    validated(store)
    assert store.get("job_1") == after
    assert list(store.unpublished()) == outbox


def test_eight_writers_lose_no_update(store: Store) -> None:
    created(store)
    began = threading.Barrier(WRITERS)

    def count(_: int) -> None:
        began.wait()
        for _ in range(WRITES_EACH):
            store.update("job_1", lambda job: Step(job.model_copy(update={"revision": job.revision + 1})))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(count, range(WRITERS)))
    assert store.get("job_1").revision == 1 + WRITERS * WRITES_EACH


def test_only_one_of_many_claims_a_stage(store: Store) -> None:
    created(store)
    validated(store)
    with ThreadPoolExecutor(WRITERS) as pool:
        claims = list(pool.map(lambda _: told(store, StagesClaimed(lease_s=60)), range(WRITERS)))
    assert sorted(name for claim in claims for name in claim.dispatch) == ["diarize", "transcribe"]


def test_a_change_is_made_anew_from_what_another_has_written_meanwhile(store: Store) -> None:
    created(store)
    seen: list[int] = []
    other = threading.Thread(target=lambda: told(store, MediaReceived(object=UPLOADED)))

    def change(job: Job) -> Step:
        seen.append(job.revision)
        if len(seen) == 1:
            other.start()
            other.join(0.3)  # a store that locks lets it write afterwards
        return Step(job.model_copy(update={"revision": job.revision + 1, "owner_id": "me"}))

    step = store.update("job_1", change)
    other.join()
    job = store.get("job_1")
    assert (job.revision, job.state, job.owner_id) == (3, JobState.VALIDATING, "me")
    assert step.job.revision == seen[-1] + 1
    assert len(set(seen)) == len(seen)


def test_a_claim_is_taken_over_once_its_holder_has_died(store: Store) -> None:
    created(store)
    validated(store)
    assert told(store, StagesClaimed(lease_s=15)).dispatch == ("transcribe", "diarize")
    told(store, StageDispatched(stage="diarize", attempt=1, call_id="call-1"))
    assert told(store, StagesClaimed(lease_s=15), after_s=14).dispatch == ()
    with ThreadPoolExecutor(WRITERS) as pool:
        claims = list(pool.map(lambda _: told(store, StagesClaimed(lease_s=15), after_s=16), range(WRITERS)))
    assert [name for claim in claims for name in claim.dispatch] == ["transcribe"]
    stage = store.get("job_1").stages["transcribe"]
    assert (stage.attempt, stage.takeovers) == (1, 1)
    assert stage.lease_expires_at == NOW + timedelta(seconds=31)


def test_the_outbox_keeps_the_order_of_commits_and_forgets_what_was_published(store: Store) -> None:
    for number in (3, 1, 0, 2, 4):
        created(store, f"job_{number}")
    first, *rest = store.unpublished()
    assert [event.jobid for event in (first, *rest)] == ["job_3", "job_1", "job_0", "job_2", "job_4"]
    assert [event.id for event in store.unpublished(job_id="job_3")] == ["job_3/1/job.created"]
    store.mark_published([first.id, *NO_IDS, first.id])
    assert list(store.unpublished(limit=2)) == rest[:2]
    store.mark_published([first.id])
    assert list(store.unpublished()) == rest
    assert list(store.history("job_3")) == [first]


def test_events_of_a_job_keep_the_order_of_its_revisions(store: Store) -> None:
    created(store)
    revisions = list(to_the_end(store))
    assert len(revisions) > 10  # so that no store sorts them as text
    events = list(store.history("job_1"))
    numbers = [int(event.id.split("/")[1]) for event in events]
    assert numbers == sorted(numbers)
    assert [event.type for event in events[-2:]] == ["stage.completed", "job.completed"]
    assert list(store.unpublished()) == list(store.unpublished(job_id="job_1")) == events
    assert list(store.unpublished(job_id="job_1", limit=3)) == events[:3]


def test_what_was_published_but_not_marked_is_there_again(store: Store) -> None:
    created(store)
    told(store, JobCanceled())
    published = list(store.unpublished(job_id="job_1"))
    assert list(store.unpublished(job_id="job_1")) == list(store.unpublished()) == published
    assert [event.type for event in published] == ["job.created", "job.canceled"]
    store.mark_published(event.id for event in published)
    assert list(store.unpublished(job_id="job_1")) == list(store.unpublished()) == []
    assert list(store.history("job_1")) == published


def test_the_history_of_a_job_can_be_erased_but_for_what_is_not_published(store: Store) -> None:
    created(store)
    created(store, "job_2")
    store.mark_published(event.id for event in store.unpublished())
    told(store, JobCanceled())
    store.erase_history("job_1")
    store.erase_history("job_x")
    assert [event.type for event in store.history("job_1")] == ["job.canceled"]
    assert [event.type for event in store.unpublished(job_id="job_1")] == ["job.canceled"]
    assert [event.type for event in store.history("job_2")] == ["job.created"]
    assert store.get("job_1").state is JobState.CANCELED


def test_any_number_of_events_is_marked(store: Store) -> None:
    created(store)
    store.mark_published([])
    store.mark_published([*(f"job_x/{number}/job.created" for number in range(1100)), "job_1/1/job.created"])
    assert list(store.unpublished()) == []


def test_jobs_are_listed_newest_first_by_state_and_in_pages(store: Store) -> None:
    for number in range(5):
        created(store, f"job_{number}")
    told(store, JobCanceled(), "job_2")
    waiting = [JobState.AWAITING_UPLOAD]
    first = store.list(states=waiting, limit=3)
    assert [job.job_id for job in first] == ["job_4", "job_3", "job_1"]
    assert [job.job_id for job in store.list(states=waiting, limit=3, after=first[-1].job_id)] == ["job_0"]
    assert [job.job_id for job in store.list(states=[JobState.CANCELED])] == ["job_2"]
    assert [job.job_id for job in store.list(after="job_22")] == ["job_2", "job_1", "job_0"]
    assert len(store.list()) == len(store.list(states=list(JobState))) == 5


def ids(jobs: Sequence[Job]) -> list[str]:
    return [job.job_id for job in jobs]


def test_a_tenants_jobs_are_listed_by_owner_metadata_and_state(store: Store) -> None:
    created(store, "job_1", owner_id="ada", metadata={"case": "7", "kind": "call"})
    created(store, "job_2", owner_id="bob", metadata={"case": "7"})
    created(store, "job_3", owner_id="ada", metadata={"case": "8", "kind": "call"})
    created(store, "job_4", tenant_id="other", owner_id="ada", metadata={"case": "7", "kind": "call"})
    told(store, JobCanceled(), "job_1")

    def found(*states: JobState, tenant_id: str = "tenant", **of: Any) -> list[str]:
        return ids(store.list(states=states, of=Selection(tenant_id=tenant_id, **of)))

    assert found() == ["job_3", "job_2", "job_1"]
    assert found(owner_id="ada") == ["job_3", "job_1"]
    assert found(owner_id="") == found(tenant_id="nobody") == []
    assert found(metadata={"case": "7"}) == ["job_2", "job_1"]
    assert found(metadata={"case": "7", "kind": "call"}) == ["job_1"]
    assert found(metadata={"kind": "7"}) == found(metadata={"case": "call"}) == []
    assert found(owner_id="ada", metadata={"kind": "call"}) == ["job_3", "job_1"]
    assert found(JobState.CANCELED) == found(JobState.CANCELED, owner_id="ada", metadata={"case": "7"}) == ["job_1"]
    assert found(JobState.AWAITING_UPLOAD, metadata={"case": "7"}) == ["job_2"]
    assert found(JobState.RUNNING, JobState.AWAITING_UPLOAD, tenant_id="other") == ["job_4"]


@pytest.mark.parametrize("text", ["", "'; --", 'a"b', "$.x[0]", "ünï 片", "🎧" * 500])
def test_any_metadata_is_found_again(store: Store, text: str) -> None:
    created(store, metadata={"name-1_X": text})
    created(store, "job_2", metadata={"name-1_X": f"{text}."})
    assert ids(store.list(of=Selection(tenant_id="tenant", metadata={"name-1_X": text}))) == ["job_1"]
    assert store.get("job_1").metadata == {"name-1_X": text}


def test_a_selection_is_listed_in_pages_and_within_bounds(store: Store) -> None:
    for number in range(9):
        created(store, f"job_{number}", metadata={"all": "yes", "third": str(number % 3 == 0)})
    of = Selection(tenant_id="tenant", metadata={"all": "yes", "third": "True"})
    pages, after = [], None
    while page := store.list(of=of, limit=2, after=after):
        pages.append(ids(page))
        after = page[-1].job_id
    assert pages == [["job_6", "job_3"], ["job_0"]]
    everything = Selection(tenant_id="tenant")
    assert ids(store.list(of=everything, after="job_7", down_to="job_5")) == ["job_6", "job_5"]
    assert ids(store.list(of=everything, down_to="job_77")) == ["job_8"]
    assert ids(store.list(of=of, after="job_7", down_to="job_1")) == ["job_6", "job_3"]


def test_what_is_left_of_a_deleted_job_is_found_by_nothing_that_was_said_of_it(store: Store) -> None:
    created(store, owner_id="ada", metadata={"case": "7"}, callback_url="https://x.example/secret", retention_days=2.0)
    told(store, JobDeleted())
    for of in ({"owner_id": "ada"}, {"metadata": {"case": "7"}}):
        assert store.list(of=Selection(tenant_id="tenant", **of)) == []
    assert [job.callback_url for job in store.list(of=Selection(tenant_id="tenant"))] == [""]


def test_jobs_are_counted_by_tenant_and_state(store: Store) -> None:
    for number in range(4):
        created(store, f"job_{number}", tenant_id="a" if number else "b")
    told(store, JobCanceled(), "job_2")
    waiting = JobState.AWAITING_UPLOAD
    assert store.count(waiting) == 3
    assert store.count(waiting, tenant_id="a") == 2
    assert store.count(waiting, JobState.CANCELED, tenant_id="a") == 3
    assert store.count(waiting, JobState.CANCELED, tenant_id="a", limit=1) == 1
    assert store.count(tenant_id="c") == store.count(JobState.RUNNING, tenant_id="a") == 0


def test_the_longest_story_stays_far_below_what_a_document_may_hold(store: Store) -> None:
    created(store, filename="🎧" * 255, metadata={f"{number}" * 20: "🎧" * 500 for number in range(10, 60)})
    validated(store)
    told(store, StagesClaimed(lease_s=60))
    text = "🎧" * 10 * MAX_MESSAGE_CHARACTERS
    told(store, StageProgressed(stage="transcribe", attempt=1, progress=0.1, partial_text="🎧" * 2000))
    error = ErrorInfo(code="model.unavailable", message=text, retryable=True)
    told(store, StageFailed(stage="diarize", attempt=1, error=error))
    notices = tuple(Notice(code=f"notice.{number}", message=text) for number in range(MAX_NOTICES + 5))
    told(store, StageCompleted(stage="transcribe", attempt=1, notices=notices))
    job = store.get("job_1")
    assert len(job.notices) == MAX_NOTICES
    assert 150_000 < len(job.to_json().encode()) < 300_000


def test_a_bookmark_is_kept_moved_and_taken_away(store: Store) -> None:
    assert store.bookmark("sweep") is None
    store.set_bookmark("sweep", None)
    for job_id in ("job_2", "job_1"):
        store.set_bookmark("sweep", job_id)
        assert (store.bookmark("sweep"), store.bookmark("retention")) == (job_id, None)
    store.set_bookmark("sweep", None)
    assert store.bookmark("sweep") is None
