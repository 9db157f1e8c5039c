"""The commands and their options. What they do is imported when they run, so that ``--help`` is quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from shared.keys import DEFAULT_TENANT

app = typer.Typer(
    help="Recordings in, attributed transcripts out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models = typer.Typer(help="List, fetch and check models.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models, name="models")
dead_letters = typer.Typer(help="Events that no function would take.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dead_letters, name="dead-letters")
keys = typer.Typer(help="API keys.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys, name="keys")
gpu = typer.Typer(help="Run the GPU stages on Modal.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(gpu, name="gpu")

DataDir = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder with the local cloud's state.", file_okay=False)
]

Tenant = Annotated[str, typer.Option(metavar="ID", help="Whose it is.")]


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Recordings: any common audio or video.")],
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write DIR/<stem>.<format> for each file.", file_okay=False)
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="json, txt, srt, vtt, ttml, ass, rttm, ctm, textgrid.")
    ] = "json,txt,srt,vtt",
    language: Annotated[str | None, typer.Option(help="ISO 639 code, e.g. en; detected if left out.")] = None,
    speakers: Annotated[int | None, typer.Option(metavar="N", help="Exact number of speakers, if known.")] = None,
    min_speakers: Annotated[int | None, typer.Option(metavar="N")] = None,
    max_speakers: Annotated[int | None, typer.Option(metavar="N")] = None,
    diarize: Annotated[bool, typer.Option("--diarize/--no-diarize", help="Tell speakers apart.")] = True,
    model: Annotated[str | None, typer.Option(help="Speech model; see 'earwitness models list'.")] = None,
    hotwords: Annotated[
        str, typer.Option(metavar="LIST", help="Names and terms that are likely to be said, by commas.")
    ] = "",
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="Text as it could come before, in style and spelling.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON instead of text.")] = False,
) -> None:
    """Transcribe recordings on a private local cloud and print who said what."""
    from infra.cli.transcribe import Wishes, transcribe_files

    wishes = Wishes.checked(
        formats=[name.strip().lower() for name in formats.split(",") if name.strip()],
        output=output,
        as_json=as_json,
        options={
            "language": language,
            "model": model,
            "diarize": diarize,
            "num_speakers": speakers,
            "min_speakers": min_speakers,
            "max_speakers": max_speakers,
            "hotwords": [word.strip() for word in hotwords.split(",") if word.strip()],
            "initial_prompt": prompt.strip(),
        },
    )
    sys.exit(transcribe_files(files, wishes))


@app.command()
def up(
    port: Annotated[int, typer.Option(help="To listen on, at 127.0.0.1.", min=0, max=65535)] = 8080,
    data: DataDir = None,
) -> None:
    """Serve the local cloud until stopped."""
    from infra.cli.up import serve

    sys.exit(serve(port, data))


@app.command()
def jobs(
    data: DataDir = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the jobs of a local cloud, running or not."""
    from infra.cli.status import list_jobs

    sys.exit(list_jobs(data, limit, as_json=as_json))


@app.command()
def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    data: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole status document.")] = False,
) -> None:
    """Show one job: its state, its stages, and why it failed if it did."""
    from infra.cli.status import show_job

    sys.exit(show_job(job_id, data, as_json=as_json))


JobId = Annotated[str, typer.Argument(metavar="ID")]


@app.command()
def cancel(job_id: JobId, data: DataDir = None) -> None:
    """End a job of a local cloud now."""
    from infra.cli.control import cancel

    sys.exit(cancel(job_id, data))


@app.command()
def retry(job_id: JobId, data: DataDir = None) -> None:
    """Try again what failed or was canceled; what was completed stays."""
    from infra.cli.control import retry

    sys.exit(retry(job_id, data))


@app.command()
def delete(job_id: JobId, data: DataDir = None) -> None:
    """Have nothing of a job left: recording, results and status."""
    from infra.cli.control import delete

    sys.exit(delete(job_id, data))


@dead_letters.command("list")
def list_dead_letters(data: DataDir = None) -> None:
    """Show events that no function would take, here or, with EARWITNESS_CLOUD=google, in the project."""
    from infra.cli.control import list_dead_letters

    sys.exit(list_dead_letters(data))


@dead_letters.command("replay")
def replay_dead_letters(
    numbers: Annotated[list[str] | None, typer.Argument(metavar="[NUMBER…]", help="All if left out.")] = None,
    data: DataDir = None,
) -> None:
    """Deliver them again, here or, with EARWITNESS_CLOUD=google, in the project."""
    from infra.cli.control import replay_dead_letters

    sys.exit(replay_dead_letters(numbers or [], data))


@app.command()
def bundle(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where to write them.", file_okay=False)],
) -> None:
    """Write one deployable zip for each function."""
    from infra.cli.bundle import write_all

    sys.exit(write_all(output))


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Your word for it.")],
    tenant: Tenant = DEFAULT_TENANT,
    scopes: Annotated[str, typer.Option(metavar="LIST", help="What it may do; all but keys by default.")] = "",
    data: DataDir = None,
) -> None:
    """Make an API key and show its token, once. With EARWITNESS_CLOUD=google, in the project."""
    from infra.cli.keys import create

    sys.exit(create(name, tenant, scopes, data))


@keys.command("list")
def list_keys(tenant: Tenant = DEFAULT_TENANT, data: DataDir = None) -> None:
    """List API keys, revoked ones too."""
    from infra.cli.keys import show

    sys.exit(show(tenant, data))


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    tenant: Tenant = DEFAULT_TENANT,
    grace: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long the old token stays good.")] = 0.0,
    data: DataDir = None,
) -> None:
    """Give an API key another token."""
    from infra.cli.keys import rotate

    sys.exit(rotate(key_id, tenant, grace, data))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID")], tenant: Tenant = DEFAULT_TENANT, data: DataDir = None
) -> None:
    """End an API key for good."""
    from infra.cli.keys import revoke

    sys.exit(revoke(key_id, tenant, data))


@models.command("list")
def list_models() -> None:
    """List the models that can be used, and which are here."""
    from infra.cli.weights import list_models

    sys.exit(list_models())


@models.command("pull")
def pull_models(
    aliases: Annotated[list[str] | None, typer.Argument(metavar="[ALIAS…]", help="The defaults if left out.")] = None,
) -> None:
    """Fetch models, check every file of them, and keep them."""
    from infra.cli.weights import pull_models

    sys.exit(pull_models(aliases or []))


@models.command("verify")
def verify_models(
    aliases: Annotated[
        list[str] | None, typer.Argument(metavar="[ALIAS…]", help="All that are here if left out.")
    ] = None,
) -> None:
    """Check the models that are here against their listed checksums."""
    from infra.cli.weights import verify_models

    sys.exit(verify_models(aliases or []))


@gpu.callback()
def _gpu() -> None:
    """Without this, a group of one command would be that command."""


@gpu.command("deploy")
def deploy_gpu(
    environment: Annotated[
        str | None, typer.Option(metavar="ENV", help="Modal environment; EARWITNESS_MODAL_ENVIRONMENT if left out.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(metavar="ALIAS", help="A model to have there beside the defaults; may repeat.")
    ] = None,
) -> None:
    """Deploy the GPU stages to Modal, with their models. Run it again after each upgrade."""
    from infra.cli.gpu import deploy

    sys.exit(deploy(models or [], environment))
