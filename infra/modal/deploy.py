"""Deploys the GPU stages to Modal: model files into a volume, then the apps."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import modal

from infra.modal.connection import own_client, within
from infra.modal.failures import translated
from infra.models import verify
from shared.errors import PipelineError
from shared.stages import MODELS_VOLUME, STAGES
from shared.weights import find_model

_CONNECT_S = 10.0
_UPLOAD_S = 3600.0
# The first time, images are built from nothing.
_DEPLOY_S = 3600.0


def connect() -> modal.Client:
    """A client whose credentials Modal has accepted.

    Raises:
        PipelineError: ``service.unavailable``, with why.
    """

    async def greeted() -> modal.Client:
        client = await own_client()
        greeting: Any = client.hello
        await greeting.aio()
        return client

    with translated():
        return within(_CONNECT_S, greeted())


def fill_volume(
    client: modal.Client, aliases: Sequence[str], models_dir: Path, *, environment: str | None = None
) -> list[str]:
    """Put files of models into the volume that are not there yet, after comparing their checksums.

    Args:
        client: Modal's client.
        aliases: Models that are complete in ``models_dir``.
        models_dir: Holds a folder for each.
        environment: Modal environment; its default one if left out.

    Returns:
        Paths of the files that were uploaded; none where all were there.

    Raises:
        PipelineError: ``model.*``; ``service.unavailable``.
    """
    volume = modal.Volume.from_name(MODELS_VOLUME, create_if_missing=True, environment_name=environment, client=client)
    with translated():
        there = within(_CONNECT_S, _sizes(volume))
    missing: list[str] = []
    for alias in aliases:
        paths = [f"{alias}/{file.name}" for file in find_model(alias).files]
        lacking = [path for path in paths if there.get(path) != (models_dir / path).stat().st_size]
        if lacking:
            verify(alias, models_dir)
        missing += lacking
    if missing:
        with translated():
            within(_UPLOAD_S, _upload(volume, models_dir, missing))
    return missing


def deploy_apps(*, environment: str | None = None) -> list[str]:
    """Deploy the app of each GPU stage, with ``modal deploy``, whose output goes to standard error.

    It is a process of its own, because only the jobs' own processes import them.

    Returns:
        Names of the apps.

    Raises:
        PipelineError: ``service.unavailable`` where that did not succeed.
    """
    stages = [stage for stage in STAGES.values() if stage.placement == "gpu"]
    for stage in stages:
        command = [sys.executable, "-m", "modal", "deploy", "-m", f"gpu_jobs.{stage.name}"]
        command += ["--env", environment] if environment else []
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=_DEPLOY_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise PipelineError("service.unavailable", f"Deploying {stage.app_name} took too long.") from error
        if done.returncode != 0:
            raise PipelineError("service.unavailable", f"{stage.app_name} was not deployed: see above for why.")
    return [stage.app_name for stage in stages]


async def _sizes(volume: modal.Volume) -> Mapping[str, int]:
    return {entry.path: entry.size for entry in await volume.listdir.aio("/", recursive=True)}


async def _upload(volume: modal.Volume, models_dir: Path, paths: Sequence[str]) -> None:
    batch: Any
    async with volume.batch_upload(force=True) as batch:
        for path in paths:
            batch.put_file(models_dir / path, f"/{path}")
