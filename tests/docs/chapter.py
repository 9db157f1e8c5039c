"""Commands of a chapter, run by a shell in which some programs only note how they were called."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.emulators import missing

# Notes its arguments, and says what the real command would where another one needs that.
_NOTE = """#!{python}
import json, os, sys
with open({notes!r}, "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
answers = {answers!r}
print(next((answers[word] for word in answers if word in sys.argv), "printed"))
"""
# Bundles are really written; deploying GPU jobs and making keys need a cloud.
_EARWITNESS = """#!/bin/sh
[ "$1" = gpu -o "$1" = keys ] && exec {noted} "$@"
exec {python} -c 'from infra.cli import main; main()' "$@"
"""


def run_chapter(
    script: str,
    folder: Path,
    programs: Iterable[str],
    *,
    answers: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    typed: str = "",
) -> Sequence[list[str]]:
    """Every call of the noted programs, as the shell expands it.

    Args:
        script: For bash.
        folder: Where it runs; gets the programs, and ``.venv/bin/earwitness`` of this environment.
        programs: Names of those that only note.
        answers: What they print, by a word of the call; the first that fits.
        environment: Beside this process' own.
        typed: On the standard input.
    """
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    notes = folder / "notes"
    for name in (*programs, "earwitness"):
        program = bin_folder / name
        program.write_text(_NOTE.format(python=sys.executable, notes=str(notes), answers=dict(answers)))
        program.chmod(0o755)
    earwitness = folder / ".venv" / "bin" / "earwitness"
    earwitness.parent.mkdir(parents=True)
    earwitness.write_text(_EARWITNESS.format(noted=bin_folder / "earwitness", python=sys.executable))
    earwitness.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **(environment or {}), "PATH": f"{bin_folder}:{os.environ['PATH']}"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return [json.loads(line) for line in notes.read_text().splitlines()]


def refused_by_gcloud(commands: Sequence[list[str]], folder: Path) -> list[tuple[str, str]]:
    """Which calls of gcloud its own parser refuses, and why; skips, or fails in CI, where there is no gcloud."""
    real = shutil.which("gcloud")
    if real is None:
        missing("gcloud is needed to check its commands")
    listed = sorted({shlex.join(command) for command in commands if command[0] == "gcloud"})
    file = folder / "commands.json"
    file.write_text(json.dumps([{"command_string": command} for command in listed]))
    done = subprocess.run(
        [str(real), "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts = json.loads(done.stdout)
    assert len(verdicts) == len(listed)
    return [(found["command_string"], found["error_message"]) for found in verdicts if not found["success"]]
