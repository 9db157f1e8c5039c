"""Hostile names and files on the command line: a line for each, nothing written elsewhere, nothing obeyed."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clouds import Phone, standin_cloud
from tests.commands import earwitness
from tests.hostile.hostile import Hostile
from tests.hostile.names import ON_DISK
from tests.hostile.watching import listing
from tests.media import encode, tone

WAV = encode("wav", tone(0.5))
UPLOADED = ("[/nothing].wav", "[bold]loud[/bold].wav", "\x1b]0;title\x07\x1b[31mred.wav", "\u202egpj.wav")


def models_run(test: Callable[..., None]) -> Callable[..., None]:
    """Marks what transcribes."""
    return pytest.mark.models(pytest.mark.slow(test))


def unseen(text: str) -> set[str]:
    """Characters that a terminal obeys instead of showing them."""
    return {character for character in text if not (character.isprintable() or character == "\n")}


def named(folder: Path, content: bytes) -> list[Path]:
    """A file under each hostile name that the file system takes."""
    folder.mkdir()
    paths = []
    for name in ON_DISK:
        path = folder / os.fsdecode(name)
        try:
            path.write_bytes(content)
        except OSError:
            continue
        paths.append(path)
    return paths


@models_run
def test_a_name_is_only_a_name(models: Path, tmp_path: Path) -> None:
    """Recordings under hostile names: each has results of its own, in the folder asked for."""
    paths = named(tmp_path / "in", WAV)
    before = listing(tmp_path)
    run = earwitness("transcribe", *paths, "--no-diarize", "--json", "--format", "txt", "--output", tmp_path / "out")
    results = json.loads(run.stdout)
    assert len(results) == len(paths) > 20
    failed = [result["file"] for result in results if result["error"]]
    # A name that leaves no room for its results' is told so.
    assert all("y" * 200 in name for name in failed), run.stderr
    written = listing(tmp_path).keys() - before.keys() - {"out"}
    assert len(written) == len(paths) - len(failed)
    assert all(name.startswith("out/") for name in written)
    assert "Traceback" not in run.stderr


@models_run
def test_a_name_commands_no_terminal(models: Path, tmp_path: Path) -> None:
    paths = named(tmp_path / "in", b"no recording")
    run = earwitness("transcribe", *paths, "--no-diarize")
    assert run.stderr and not unseen(run.stderr)


@models_run
def test_refusals_are_one_line_each_and_name_no_path(models: Path, tmp_path: Path, files: Sequence[Hostile]) -> None:
    refused = [file for file in files if "accepted" not in file.outcomes][::40]
    (tmp_path / "in").mkdir()
    paths = []
    for number, file in enumerate(refused):
        paths.append(tmp_path / "in" / f"{number}.bin")
        paths[-1].write_bytes(file.content)
    before = listing(tmp_path)
    run = earwitness("transcribe", *paths, "--no-diarize")
    assert (run.returncode, run.stdout) == (1, "")
    told = dict(line.removeprefix("error: ").split(": ")[1::-1] for line in run.stderr.splitlines() if line)
    assert told.keys() == {path.name for path in paths}
    assert all(told[f"{number}.bin"] in file.outcomes for number, file in enumerate(refused))
    assert str(tmp_path) not in run.stderr
    assert listing(tmp_path) == before


def test_a_name_that_was_uploaded_commands_no_terminal(tmp_path: Path) -> None:
    """Whoever may upload writes what an operator reads."""
    with standin_cloud(tmp_path) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        jobs = {name: phone.send(b"no recording", filename=name) for name in UPLOADED}
        for job_id in jobs.values():
            phone.wait(job_id)
    listed = earwitness("jobs", "--data", tmp_path / "cloud")
    for name, job_id in jobs.items():
        told = "".join(character if character.isprintable() else "\ufffd" for character in name)
        for run in (listed, earwitness("job", job_id, "--data", tmp_path / "cloud")):
            assert (run.returncode, run.stderr) == (0, "")
            assert told in run.stdout and not unseen(run.stdout)
