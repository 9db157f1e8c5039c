"""What a soak left behind, counted in the state of the cloud after it has stopped."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from shared.jobs import Job, JobState
from shared.stages import STAGES

MILESTONES = ("media.validated", "stage.completed", "job.completed", "job.failed", "media.rejected")


@dataclass
class Findings:
    """What was found.

    Attributes:
        lost: Why, of each recording that came to nothing or to less than it must.
        twice: What there is two of.
        given_up: Jobs of which one stage was killed in each attempt it had: told so, as promised, and so not lost.
        latencies_s: From the creation of each completed job to its last change, sorted.
        retried: Failed attempts that were tried again, by code.
        unanswered: Jobs that were created and whose app never heard of it: it made another.
        dead_letters: Messages that were given up.
        depth: Messages that still wait.
    """

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    dead_letters: int = 0
    depth: int = 0

    def latency_s(self, share: float) -> float:
        """The latency that this share of the jobs kept to."""
        return self.latencies_s[min(int(share * len(self.latencies_s)), len(self.latencies_s) - 1)]


def look(folder: Path, accepted: Sequence[str]) -> Findings:
    """Look at the state in a folder, of a cloud at rest.

    Args:
        folder: Of the state.
        accepted: Ids of the jobs whose recordings the cloud took.
    """
    found = Findings()
    with closing(sqlite3.connect(folder / "state.sqlite")) as connection:
        jobs = {job_id: Job.from_json(text) for job_id, text in connection.execute("SELECT job_id, document FROM jobs")}
        _count_jobs(found, jobs, accepted)
        _count_events(found, connection)
        _count_objects(found, connection, folder / "objects", [jobs[job_id] for job_id in accepted if job_id in jobs])
        found.depth = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        found.dead_letters = connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0]
    return found


def _count_jobs(found: Findings, jobs: dict[str, Job], accepted: Sequence[str]) -> None:
    for job_id in accepted:
        job = jobs.get(job_id)
        if job is None:
            found.lost.append(f"{job_id} is not there")
        elif job.error and job.error.code == "stage.crashed" and _is_used_up(job):
            found.given_up.append(job_id)
        elif job.state is not JobState.COMPLETED:
            found.lost.append(f"{job_id} is {job.state}{f': {job.error.code}' if job.error else ''}")
        else:
            found.latencies_s.append((job.updated_at - job.created_at).total_seconds())
    found.latencies_s.sort()
    others = [job for job_id, job in jobs.items() if job_id not in set(accepted)]
    found.unanswered = len(others)
    found.twice += [f"{job.job_id} ran, and nobody had asked for it" for job in others if job.revision > 1]


def _is_used_up(job: Job) -> bool:
    return any(stage.failures == STAGES[name].max_attempts for name, stage in job.stages.items())


def _count_events(found: Findings, connection: sqlite3.Connection) -> None:
    told: Counter[tuple[str, str, str]] = Counter()
    for job_id, text, published_at in connection.execute("SELECT job_id, event, published_at FROM outbox"):
        event = json.loads(text)
        if published_at is None:
            found.lost.append(f"{event['id']} was never published")
        if event["type"] in MILESTONES:
            told[job_id, event["type"], event["data"].get("stage", "")] += 1
        if event["type"] == "stage.failed":
            found.retried[event["data"]["error"]["code"]] += 1
    found.twice += [
        f"{job_id}: {count} times {type_} {stage}" for (job_id, type_, stage), count in told.items() if count > 1
    ]


def _count_objects(found: Findings, connection: sqlite3.Connection, folder: Path, jobs: Sequence[Job]) -> None:
    rows = connection.execute("SELECT bucket, name, generation, md5, file FROM objects").fetchall()
    stored = {(bucket, name, generation) for bucket, name, generation, _, _ in rows}
    named = [artifact.object for job in jobs for artifact in job.artifacts]
    named += [job.media.object for job in jobs if job.media is not None]
    recorded = {(info.bucket, info.name, info.generation) for info in named}
    # What killed attempts wrote is there for a retry of the job, which takes it up, or goes with the job.
    theirs = {f"/{job_id}/" for job_id in found.given_up}
    found.lost += [f"{name} is recorded and not stored" for _, name, _ in recorded - stored]
    found.twice += [
        f"{name} is stored and nobody's" for _, name, _ in stored - recorded if not any(part in name for part in theirs)
    ]
    files = {path.name for path in folder.iterdir()}
    found.twice += [f"the file {name} belongs to no object" for name in files - {row[4] for row in rows}]
    found.lost += [f"the file of {name} is gone" for _, name, _, _, file in rows if file not in files]
    # Every recording is the same, and the stand-ins make the same of each.
    contents = {(name.rpartition("/")[2], md5) for _, name, _, md5, _ in rows}
    for filename, count in Counter(filename for filename, _ in contents).items():
        if count > 1:
            found.lost.append(f"there are {count} different {filename}")
