"""Checkov over `terraform/`: what it refuses, and what is skipped why. ``make terraform-check`` runs it.

Checkov lives in an environment of its own, because what it depends on conflicts with what the tests do; so this imports
nothing but Python's own library.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2] / "terraform"


def scanned(folder: Path, python: Path) -> dict[str, Any]:
    """Checkov's report of a folder.

    Args:
        folder: What to look at.
        python: Python of the environment that has Checkov.
    """
    command = [str(python.with_name("checkov")), "--directory", str(folder), "--framework", "terraform"]
    command += ["--skip-download", "--output", "json", "--soft-fail"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not report["summary"]["parsing_errors"], report["results"].get("parsing_errors")
    return dict(report)


def refused(report: dict[str, Any]) -> list[str]:
    """Failed checks: what is wrong, of which resource, where."""
    rows = report["results"]["failed_checks"]
    return sorted({f"{row['check_id']} {row['check_name']}: {_where(row)}" for row in rows})


def skipped(report: dict[str, Any]) -> list[str]:
    """Skipped checks: where, and why. A resource is named once, from however many places its module is used."""
    return sorted({" ".join(parts) for parts in _skips(report)})


def _skips(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for row in report["results"].get("skipped_checks", []):
        yield f"{row['check_id']} {_where(row)}:", row["check_result"]["suppress_comment"]


def _where(row: dict[str, Any]) -> str:
    """The file, and the resource without the module calls and the key that lead to it."""
    return f"{row['file_path'].lstrip('/')} {'.'.join(row['resource'].partition('[')[0].split('.')[-2:])}"


def main() -> None:
    """Print what was found; end with 1 when anything is refused."""
    report = scanned(ROOT, Path(sys.executable))
    wrong, skips = refused(report), skipped(report)
    lines = [*(f"refused: {line}" for line in wrong), *(f"skipped: {line}" for line in skips)]
    summary = report["summary"]
    lines.append(f"checkov: {summary['passed']} passed, {len(wrong)} failed, {len(skips)} skipped with reasons")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
