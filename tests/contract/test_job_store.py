"""What every job store promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.database import Database
from infra.local.job_store import LocalJobStore
from shared.advance import Step, advance, new_job
from shared.errors import PipelineError
from shared.events import JobCanceled, MediaReceived, StageProgressed, StagesClaimed
from shared.jobs import Job, JobState, StageStatus
from shared.media import ObjectInfo
from shared.options import JobOptions
from shared.ports import JobStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UPLOADED = ObjectInfo(bucket="uploads", name="t/ünï/片.wav", generation=7, size_bytes=10)


@pytest.fixture(params=["local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return LocalJobStore(Database(tmp_path / "state.sqlite"))


def created(store: JobStore, job_id: str = "job_1") -> Step:
    step = new_job(
        job_id=job_id,
        tenant_id="tenant",
        filename="ünï 片.wav",
        options=JobOptions(),
        upload_expires_at=NOW + timedelta(hours=1),
        now=NOW,
    )
    store.create(step)
    return step


def test_a_job_is_read_back_as_it_was_written(store: JobStore) -> None:
    assert (
        store.get(created(store).job.job_id)
        == store.get("job_1")
        == created(store, "job_2").job.model_copy(update={"job_id": "job_1"})
    )


def test_a_job_cannot_be_created_twice(store: JobStore) -> None:
    created(store)
    with pytest.raises(PipelineError) as refused:
        created(store)
    assert refused.value.code == "job.exists"
    assert len(store.unpublished()) == 1


def test_an_unknown_job_is_not_found(store: JobStore) -> None:
    for call in (lambda: store.get("job_x"), lambda: store.update("job_x", lambda job: Step(job))):
        with pytest.raises(PipelineError) as refused:
            call()
        assert refused.value.code == "job.not_found"


def test_a_change_and_its_events_commit_together(store: JobStore) -> None:
    created(store)
    store.mark_published(event.id for event in store.unpublished())
    step = store.update("job_1", lambda job: advance(job, JobCanceled(), NOW))
    assert store.get("job_1").state is JobState.CANCELED
    assert [event.id for event in store.unpublished()] == [event.id for event in step.events] != []


def test_a_change_that_raises_leaves_nothing(store: JobStore) -> None:
    created(store)
    before, outbox = store.get("job_1"), list(store.unpublished())

    def fails(job: Job) -> Step:
        advance(job, JobCanceled(), NOW)
        raise PipelineError("internal")

    with pytest.raises(PipelineError):
        store.update("job_1", fails)
    assert store.get("job_1") == before
    assert list(store.unpublished()) == outbox


def test_a_step_that_changes_nothing_writes_nothing(store: JobStore) -> None:
    created(store)
    store.update("job_1", lambda job: advance(job, StageProgressed(stage="transcribe", attempt=1, progress=0.5), NOW))
    assert store.get("job_1").revision == 1


def test_eight_writers_lose_no_update(store: JobStore) -> None:
    created(store)
    store.update("job_1", lambda job: advance(job, MediaReceived(object=UPLOADED), NOW))
    began = threading.Barrier(8)

    def count(_: int) -> None:
        began.wait()
        for _ in range(20):
            store.update("job_1", lambda job: Step(job.model_copy(update={"revision": job.revision + 1})))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert store.get("job_1").revision == 2 + 8 * 20


def test_only_one_of_many_claims_a_stage(store: JobStore) -> None:
    created(store)
    running = store.get("job_1").model_copy(update={"state": JobState.RUNNING, "revision": 2})
    done = running.stages["validate"].model_copy(update={"state": StageStatus.COMPLETED})
    running = Job.from_json(running.model_copy(update={"stages": {**running.stages, "validate": done}}).to_json())
    store.update("job_1", lambda _: Step(running))

    def claim(job: Job) -> Step:
        return advance(job, StagesClaimed(lease_s=60), NOW)

    with ThreadPoolExecutor(8) as pool:
        claims = list(
            pool.map(
                lambda _: store.update("job_1", lambda job: advance(job, StagesClaimed(lease_s=60), NOW)), range(8)
            )
        )
    assert sorted(name for claim in claims for name in claim.dispatch) == ["diarize", "transcribe"]


def test_the_outbox_keeps_the_order_of_commits_and_forgets_what_was_published(store: JobStore) -> None:
    for number in range(5):
        created(store, f"job_{number}")
    first, *rest = store.unpublished()
    assert [event.jobid for event in (first, *rest)] == [f"job_{number}" for number in range(5)]
    assert [event.id for event in store.unpublished(job_id="job_3")] == ["job_3/1/job.created"]
    store.mark_published([first.id, "unknown"])
    assert list(store.unpublished(limit=2)) == rest[:2]
    store.mark_published([first.id])
    assert list(store.unpublished()) == rest


def test_jobs_are_listed_newest_first_by_state_and_in_pages(store: JobStore) -> None:
    for number in range(5):
        created(store, f"job_{number}")
    store.update("job_2", lambda job: advance(job, JobCanceled(), NOW))
    waiting = [JobState.AWAITING_UPLOAD]
    first = store.list(states=waiting, limit=3)
    assert [job.job_id for job in first] == ["job_4", "job_3", "job_1"]
    assert [job.job_id for job in store.list(states=waiting, limit=3, after=first[-1].job_id)] == ["job_0"]
    assert [job.job_id for job in store.list(states=[JobState.CANCELED])] == ["job_2"]
    assert len(store.list()) == 5
