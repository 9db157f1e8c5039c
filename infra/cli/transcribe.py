"""``earwitness transcribe``: files through a private local cloud, as a phone would send them."""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from infra.cli.client import ApiClient
from infra.cli.console import print_error, seen, stderr, stdout
from infra.cli.weights import have_models, needed_models
from infra.exports import FORMATS
from infra.local.runner import LocalRunner
from infra.settings import load_settings
from shared.errors import ErrorInfo, PipelineError
from shared.options import JobOptions

if TYPE_CHECKING:
    from infra.local.cloud import LocalCloud

log = logging.getLogger(__name__)

_UPLOADS_AT_ONCE = 4


@dataclass(frozen=True)
class Wishes:
    """What the caller asked for, checked."""

    formats: Sequence[str]
    output: Path | None
    as_json: bool
    options: JobOptions

    @classmethod
    def checked(cls, *, formats: Sequence[str], output: Path | None, as_json: bool, options: dict[str, Any]) -> Self:
        """Check options before anything starts.

        Raises:
            typer.BadParameter: An option is out of range or unknown.
        """
        if not formats:
            raise typer.BadParameter("name at least one format")
        if unknown := [name for name in formats if name not in FORMATS]:
            raise typer.BadParameter(f"no format '{unknown[0]}'; there are {', '.join(FORMATS)}")
        try:
            return cls(formats, output, as_json, JobOptions(**options))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise typer.BadParameter(f"{where}: {first['msg']}" if where else first["msg"]) from error


@dataclass
class Outcome:
    """What became of one file."""

    path: Path
    stem: str
    job: dict[str, Any] = field(default_factory=dict)
    error: ErrorInfo | None = None
    text: str = ""
    files: list[Path] = field(default_factory=list)


def transcribe_files(paths: Sequence[Path], wishes: Wishes) -> int:
    """Transcribe files; return the exit status: 0, or 1 when any failed, or 130 after Ctrl-C."""
    began = time.monotonic()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    # A closed terminal or a kill must not leave copies of recordings behind any more than Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="earwitness-"))
    try:
        if wishes.output is not None:
            _check_folder(wishes.output)
        have_models(needed_models(wishes.options))
        outcomes = _run(paths, wishes, folder)
    except PipelineError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        kept = f" What was finished is in {wishes.output}." if wishes.output is not None else ""
        stderr.print(f"Stopped.{kept}", markup=False)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(outcomes, wishes, time.monotonic() - began)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _check_folder(output: Path) -> None:
    """Make the output folder and write to it, before hours of work whose result could not be kept.

    Raises:
        PipelineError: ``request.invalid``.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise PipelineError("request.invalid", f"Nothing can be written to {output}: {error.strerror}.") from error


def _run(paths: Sequence[Path], wishes: Wishes, folder: Path) -> list[Outcome]:
    settings = load_settings().model_copy(update={"data_dir": folder / "cloud"})
    # The workers load code and models in their own processes while this one loads its web server.
    runner = LocalRunner(settings.models_dir, folder / "logs")
    try:
        runner.warm(["transcribe", "diarize"] if wishes.options.diarize else ["transcribe"])
        from infra.local.cloud import LocalCloud

        with LocalCloud(settings, runner=runner) as cloud, _progress() as progress:
            outcomes = [Outcome(path, stem) for path, stem in zip(paths, _stems(paths), strict=True)]
            pool = ThreadPoolExecutor(_UPLOADS_AT_ONCE if len(paths) > 1 else 1)
            try:
                list(pool.map(lambda outcome: _transcribe(outcome, wishes, cloud, progress), outcomes))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            return outcomes
    finally:
        runner.close()


def _transcribe(outcome: Outcome, wishes: Wishes, cloud: "LocalCloud", progress: Progress) -> None:
    try:
        with ApiClient(cloud.url, cloud.owner_token) as client:
            created = client.upload(outcome.path, wishes.options)
            lines: dict[str, TaskID] = {}
            for job in client.follow(created["job_id"]):
                _show(_printable(outcome.path), job, progress, lines)
                outcome.job = job
            if (media := cloud.jobs.get(created["job_id"]).media) is not None:
                cloud.objects.delete(media.object)  # a long list of files needs the space of a few
            if outcome.job["state"] == "completed":
                _collect(outcome, wishes, client)
            else:
                unsaid = {"code": "internal", "message": f"The job was {outcome.job['state']}."}
                outcome.error = ErrorInfo.from_data(outcome.job["error"] or unsaid)
    except PipelineError as error:
        outcome.error = error.info
    except OSError as error:
        outcome.error = PipelineError("request.invalid", f"{error.strerror or 'It cannot be read'}.").info
    except Exception:  # a defect with one file must not cost the results of the others
        log.exception("%r failed", str(outcome.path))
        outcome.error = PipelineError("internal", "This should not happen; the log above says more.").info


def _collect(outcome: Outcome, wishes: Wishes, client: ApiClient) -> None:
    job_id = outcome.job["job_id"]
    outcome.text = client.transcript(job_id, "txt")
    if wishes.as_json:
        outcome.job["transcript"] = json.loads(client.transcript(job_id, "json"))
    if wishes.output is not None:
        for name in wishes.formats:
            path = wishes.output / f"{outcome.stem}.{FORMATS[name].extension}"
            outcome.files.append(_write(path, client.transcript(job_id, name)))


def _text(path: Path) -> str:
    """A path as text: file systems hold names that are not."""
    return str(path).encode("utf-8", "replace").decode()


def _printable(path: Path, *, whole: bool = False) -> str:
    """A name for a terminal."""
    return seen(_text(path if whole else Path(path.name)))


def _write(path: Path, content: str) -> Path:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(content, encoding="utf-8")
        return draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _stems(paths: Sequence[Path]) -> list[str]:
    """A stem for each file; one that is taken gets a number, so that no result overwrites another.

    Compared without case, as some file systems do. A file's own stem goes to it before a numbered one can take it.
    """
    own = {path.stem.casefold() for path in paths}
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in own):
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[remark]}", style="dim", markup=False),
        console=stderr,
        transient=True,
    )


def _show(name: str, job: dict[str, Any], progress: Progress, lines: dict[str, TaskID]) -> None:
    for stage, status in job["stages"].items():
        if status["state"] in ("pending", "skipped"):
            continue
        if stage not in lines:
            lines[stage] = progress.add_task(f"{name}  {stage}", total=1.0, start=False, remark="waiting")
        remark = {"dispatched": "waiting", "failed": "failed"}.get(status["state"], "")
        if stage == "transcribe" and status["state"] == "running":
            remark = job["partial_text"][-48:]
        if status["state"] != "dispatched":
            progress.start_task(lines[stage])
        if status["state"] == "failed":
            progress.stop_task(lines[stage])
        progress.update(lines[stage], completed=status["progress"], remark=remark)


def _print(outcomes: Sequence[Outcome], wishes: Wishes, took_s: float) -> None:
    if wishes.as_json:
        results = [
            {
                "file": _text(outcome.path),
                "error": outcome.error.model_dump() if outcome.error else None,
                "files": [_text(path) for path in outcome.files],
                "job": outcome.job or None,
            }
            for outcome in outcomes
        ]
        sys.stdout.write(json.dumps(results, ensure_ascii=False, indent=2) + "\n")
    for outcome in outcomes:
        if outcome.error:
            print_error(outcome.error, _printable(outcome.path))
        elif not wishes.as_json:
            if len(outcomes) > 1:
                stdout.rule(_printable(outcome.path), align="left")
            # Wrapped at words for a person; left as it is for a program.
            stdout.print(outcome.text.strip() or "(no speech)", markup=False, soft_wrap=not stdout.is_terminal)
    _summarise([outcome for outcome in outcomes if not outcome.error], took_s)


def _summarise(done: Sequence[Outcome], took_s: float) -> None:
    audio_s = sum(outcome.job["stages"]["transcribe"]["metrics"]["audio_s"] for outcome in done)
    if done:
        stderr.print(f"\n{audio_s:.1f} s of audio in {took_s:.1f} s.")
    for outcome in done:
        for notice in outcome.job["notices"]:
            stderr.print(f"{_printable(outcome.path)}: {notice['message']}", markup=False)
        for path in outcome.files:
            stderr.print(f"  {_printable(path, whole=True)}", soft_wrap=True, markup=False)
