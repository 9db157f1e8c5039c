"""``earwitness jobs`` and ``earwitness job``: read the state folder, whether or not the cloud is up."""

import json
from pathlib import Path

from rich.table import Table

from infra.cli.console import errors_as_exit, seen, stdout
from infra.local.database import Database
from infra.local.job_store import LocalJobStore
from infra.settings import load_settings
from shared.errors import PipelineError
from shared.jobs import JobState


def list_jobs(data: Path | None, limit: int, *, as_json: bool) -> int:
    """Print the newest jobs, newest first."""
    with errors_as_exit():
        store = _store(data)
        jobs = list(store.list(states=[state for state in JobState if not state.is_gone], limit=limit))
    if as_json:
        stdout.print_json(json.dumps([job.model_dump(mode="json") for job in jobs]))
        return 0
    if not jobs:
        stdout.print("No jobs yet.")
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("job", min_width=len(jobs[0].job_id))  # ids are there to be copied: never shortened
    for title in ("created", "state", "progress", "file"):
        table.add_column(title)
    for job in jobs:
        created = job.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(job.job_id, created, job.state, f"{job.progress:.0%}", seen(job.filename))
    stdout.print(table)
    return 0


def show_job(job_id: str, data: Path | None, *, as_json: bool) -> int:
    """Print one job."""
    with errors_as_exit():
        store = _store(data)
        job = store.get(job_id)
    if as_json:
        stdout.print_json(job.to_json())
        return 0
    stdout.print(f"{job.job_id}  {job.state}  {job.progress:.0%}  {seen(job.filename)}")
    if job.error:
        stdout.print(f"{job.error.code}: {job.error.message}")
    for notice in job.notices:
        stdout.print(f"{notice.code}: {notice.message}")
    table = Table("stage", "state", "attempt", "progress", "compute", "model", "error", box=None, pad_edge=False)
    for name, stage in job.stages.items():
        compute = f"{stage.metrics.compute_s:.1f} s" if stage.metrics and stage.metrics.compute_s else ""
        model = stage.metrics.model if stage.metrics else ""
        error = f"{stage.error.code}: {stage.error.message}" if stage.error else ""
        table.add_row(name, stage.state, str(stage.attempt), f"{stage.progress:.0%}", compute, model, error)
    stdout.print(table)
    for event in store.history(job_id):
        stdout.print(f"{event.time.astimezone():%H:%M:%S.%f}  {event.type}  {event.data.get('stage', '')}")
    for artifact in job.artifacts:
        stdout.print(f"{artifact.kind}: {artifact.object.uri} ({artifact.object.size_bytes} bytes)", soft_wrap=True)
    return 0


def _store(data: Path | None) -> LocalJobStore:
    return LocalJobStore(open_state(data))


def open_state(data: Path | None) -> Database:
    """The state file of a local cloud, whether or not it is up.

    Raises:
        PipelineError: ``job.not_found`` where there is none.
    """
    path = (data or load_settings().data_dir) / "state.sqlite"
    if not path.exists():
        raise PipelineError("job.not_found", f"There is no local cloud in {path.parent}; 'earwitness up' makes one.")
    return Database(path)
