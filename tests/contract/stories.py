"""What happens to a job from its creation to its end, for tests of whatever stores it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Unpack

from shared.advance import Step, advance, new_job
from shared.events import (
    Artifact,
    Fact,
    MediaReceived,
    MediaValidated,
    Metrics,
    StageCompleted,
    StageDispatched,
    StageProgressed,
    StagesClaimed,
)
from shared.jobs import About, Job
from shared.media import Media, ObjectInfo, Probe
from shared.options import JobOptions
from shared.ports import JobStore
from shared.stages import STAGES

NOW = datetime(2026, 1, 1, 12, 30, 59, 123456, tzinfo=UTC)
UPLOADED = ObjectInfo(bucket="uploads", name="t/ünï/片.wav", generation=1_767_270_659_123_456, size_bytes=10)
PROBE = Probe(container="wav", audio_codec="pcm_s16le", duration_s=12.5, sample_rate_hz=48_000, channels=2)
STEPS = (0.25, 0.5, 0.75)


def created(store: JobStore, job_id: str = "job_1", *, tenant_id: str = "tenant", **about: Unpack[About]) -> Step:
    """A new job in a store."""
    about.setdefault("filename", "片.wav")
    step = new_job(
        job_id=job_id,
        tenant_id=tenant_id,
        options=JobOptions(language="de", min_speakers=1, max_speakers=3),
        upload_expires_at=NOW + timedelta(hours=1),
        now=NOW,
        **about,
    )
    store.create(step)
    return step


def told(store: JobStore, fact: Fact, job_id: str = "job_1", *, after_s: float = 0.0) -> Step:
    """Tell a job a fact, so many seconds after ``NOW``."""
    return store.update(job_id, lambda job: advance(job, fact, NOW + timedelta(seconds=after_s)))


def validated(store: JobStore, job_id: str = "job_1") -> None:
    """Bring a new job to where its first stages can be claimed."""
    told(store, MediaReceived(object=UPLOADED), job_id)
    told(store, MediaValidated(media=Media(object=UPLOADED, filename="片.wav", probe=PROBE)), job_id)


def artifact(stage: str) -> Artifact:
    """The first artifact of a stage."""
    product = STAGES[stage].products[0]
    stored = ObjectInfo(bucket="results", name=f"tenant/job/{product.filename}", generation=2, size_bytes=3)
    return Artifact(kind=product.kind, filename=product.filename, object=stored)


def to_the_end(store: JobStore, job_id: str = "job_1") -> Iterator[Job]:
    """Drive a new job until it is completed; the job after each of its revisions."""
    facts: list[Fact] = [
        MediaReceived(object=UPLOADED),
        MediaValidated(media=Media(object=UPLOADED, filename="片.wav", probe=PROBE)),
    ]
    for stages in (("transcribe", "diarize"), ("attribute",), ("caption",)):
        facts.append(StagesClaimed(lease_s=60))
        for stage in stages:
            facts.append(StageDispatched(stage=stage, attempt=1, call_id=f"call-{stage}"))
            text = f"{stage}: grüß dich, 世界 🎧"
            facts += [StageProgressed(stage=stage, attempt=1, progress=step, partial_text=text) for step in STEPS]
            metrics = Metrics(audio_s=12.5, compute_s=0.5, model="tiny@1", device="cpu")
            facts.append(StageCompleted(stage=stage, attempt=1, artifacts=(artifact(stage),), metrics=metrics))
    for after_s, fact in enumerate(facts):
        yield told(store, fact, job_id, after_s=after_s).job
