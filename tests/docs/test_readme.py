"""The README's commands, run as they stand, and its claims about options, formats and codes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.sample import sample_path
from infra.exports import FORMATS
from infra.settings import Settings
from shared.errors import CATALOGUE
from tests.commands import earwitness, served

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# The chapter on Google Cloud has a test file of its own.
HERE, _, THERE = README.partition("## On Google Cloud")
BLOCKS = re.findall(r"```sh\n(.*?)```", HERE + THERE.partition("\n## ")[2], re.DOTALL)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A block in a folder that has ``.venv/bin/earwitness`` and ``talk.wav``, as after ``make setup``."""
    command = folder / ".venv" / "bin" / "earwitness"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from infra.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    return subprocess.run(
        ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )


def block(start: str) -> str:
    (found,) = [text for text in BLOCKS if text.startswith(start)]
    return found


def test_every_block_is_run_by_a_test_here() -> None:
    known = ("make run", "make test", ".venv/bin/earwitness transcribe", ".venv/bin/earwitness models")
    served_ones = (".venv/bin/earwitness up", "curl -s http://127.0.0.1:8080/v1/jobs", "python3 -", "JOB=")
    assert [text for text in BLOCKS if not text.startswith(known + served_ones)] == []


@pytest.mark.parametrize("target", ["run", "test"])
def test_the_two_commands_are_there_and_need_nothing_else(target: str) -> None:
    assert f"make {target}\n" in BLOCKS
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"run": "earwitness transcribe", "test": "pytest"}[target] in plan


@pytest.mark.models
@pytest.mark.slow
def test_the_transcribe_command(models: Path, tmp_path: Path) -> None:
    shutil.copy(sample_path(), tmp_path / "talk.wav")
    done = run(block(".venv/bin/earwitness transcribe"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SPEAKER_01: " in done.stdout
    assert sorted(path.suffix for path in (tmp_path / "transcripts").iterdir()) == [".json", ".srt", ".txt", ".vtt"]


@pytest.mark.models
@pytest.mark.slow
def test_the_models_commands(models: Path, tmp_path: Path) -> None:
    done = run(block(".venv/bin/earwitness models"), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.models
@pytest.mark.slow
def test_the_three_calls_of_an_app(models: Path, tmp_path: Path) -> None:
    shutil.copy(sample_path(), tmp_path / "talk.wav")
    with served(tmp_path / "state") as cloud:
        url = str(cloud.phone.client.base_url).rstrip("/")
        script = "".join(block(start) for start in ("curl -s http://127.0.0.1:8080", "python3 -", "JOB="))
        done = run(
            f"KEY='authorization: Bearer {cloud.token}'\n" + script.replace("http://127.0.0.1:8080", url), tmp_path
        )
    assert done.returncode == 0, done.stderr
    assert '"state":"completed"' in done.stdout
    assert "00:00:06," in done.stdout and "New Jersey" in done.stdout


def test_every_option_of_transcribe_is_documented() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from infra.cli import main; main()", "transcribe", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    options = set(re.findall(r"(--[a-z-]+)", shown)) - {"--help", "--diarize"}
    assert {option for option in options if f"`{option}" not in README} == set()


def test_every_format_and_every_rejection_is_documented() -> None:
    table = README.partition("| `--format LIST` |")[2].splitlines()[0]
    assert re.findall(r"`(\w+)`", table) == list(FORMATS)
    codes = {code for code in CATALOGUE if code.startswith("media.")}
    assert {code for code in codes if f"| `{code}` |" not in README} == set()


def test_every_setting_is_documented() -> None:
    table = (ROOT / "infra" / "README.md").read_text().partition("## Settings")[2].partition("## Decisions")[0]
    listed = set(re.findall(r"`([A-Z_]+)`", table)) - {"EARWITNESS_"}
    assert listed == {name.upper() for name in Settings.model_fields}


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("*/README.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_help_of_every_command_is_quick_and_clean() -> None:
    for command in ([], ["transcribe"], ["up"], ["jobs"], ["job"], ["models"], ["models", "pull"]):
        shown = earwitness(*command, "--help", timeout_s=20)
        assert shown.returncode == 0 and "Usage:" in shown.stdout and shown.stderr == ""
