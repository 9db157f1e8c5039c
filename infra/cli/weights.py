"""``earwitness models``."""

from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from infra.cli.console import errors_as_exit, stderr, stdout
from infra.models import discard_if_corrupt, is_present, pull, verify
from infra.settings import load_settings
from shared.options import JobOptions
from shared.weights import DEFAULT_MODELS, MODELS, find_model


def list_models() -> int:
    """Print the models file."""
    models_dir = load_settings().models_dir
    table = Table("model", "stage", "languages", "licence", "revision", "here", box=None, pad_edge=False)
    for model in MODELS.values():
        default = " (default)" if model.alias in DEFAULT_MODELS.values() else ""
        table.add_row(
            f"{model.alias}{default}",
            model.stage,
            ", ".join(model.languages) or "many",
            model.licence,
            model.revision[:12],
            "yes" if is_present(model.alias, models_dir) else "no",
        )
    stdout.print(table)
    return 0


def pull_models(aliases: Sequence[str]) -> int:
    """Fetch models; the defaults where none is named."""
    wanted = aliases or list(DEFAULT_MODELS.values())
    with errors_as_exit():
        for alias in wanted:
            discard_if_corrupt(alias, load_settings().models_dir)
        have_models(wanted)
        stdout.print(f"Here and verified: {', '.join(wanted)}")
    return 0


def verify_models(aliases: Sequence[str]) -> int:
    """Check models; all that are here where none is named."""
    models_dir = load_settings().models_dir
    with errors_as_exit():
        for alias in aliases or [alias for alias in MODELS if is_present(alias, models_dir)]:
            verify(alias, models_dir)
            stdout.print(f"{alias}: all checksums agree")
    return 0


def needed_models(options: JobOptions) -> list[str]:
    """Models that a job with these options runs.

    Raises:
        PipelineError: ``model.unknown``.
    """
    speech = find_model(options.model or DEFAULT_MODELS["transcribe"], "transcribe").alias
    return [speech, DEFAULT_MODELS["diarize"]] if options.diarize else [speech]


def have_models(aliases: Sequence[str]) -> None:
    """Fetch what is missing, showing how far it is.

    Raises:
        PipelineError: ``model.*``.
    """
    models_dir = load_settings().models_dir
    missing = [alias for alias in aliases if not is_present(alias, models_dir)]
    if not missing:
        return
    title = TextColumn("Fetching model [bold]{task.description}")
    with Progress(title, BarColumn(), MofNCompleteColumn(), TextColumn("files"), console=stderr) as progress:
        for alias in missing:
            _pull_shown(alias, models_dir, progress)


def _pull_shown(alias: str, models_dir: Path, progress: Progress) -> None:
    line = progress.add_task(alias, total=len(find_model(alias).files))
    pull(alias, models_dir, lambda *_: progress.advance(line))
