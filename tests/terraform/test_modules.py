"""Every module, example and environment is formatted, valid and keeps what its tests say, with each major."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.terraform.documentation import folders
from tests.terraform.providers import MAJORS, ROOT, Terraform

FOLDERS = [folder.relative_to(ROOT).as_posix() for folder in folders()]
_RUN = re.compile(r"^run \"", re.MULTILINE)
_ASSERT = re.compile(r"^  assert \{", re.MULTILINE)
_REFUSAL = re.compile(r"^  expect_failures", re.MULTILINE)
_PASSED = re.compile(r"Success! (\d+) passed, 0 failed")


def test_folders_are_found(tell: Callable[[str], None]) -> None:
    modules = [folder for folder in FOLDERS if folder.startswith("modules/")]
    untested = [folder for folder in modules if not _tests(folder)]
    runs, assertions, refusals = (sum(_count(of, folder) for folder in FOLDERS) for of in (_RUN, _ASSERT, _REFUSAL))
    tell(
        f"{len(FOLDERS)} modules, examples and environments, {runs} runs with {assertions} assertions and {refusals} "
        f"refusals, each with google {', '.join(map(str, MAJORS))}"
    )
    assert untested == [], "a module without tests"
    assert {folder.partition("/")[0] for folder in FOLDERS} == {"modules", "examples", "environments"}


def test_format(newest_terraform: Terraform) -> None:
    newest_terraform("fmt", "-check", "-diff", "-recursive", "-no-color", folder=ROOT)


@pytest.mark.parametrize("folder", FOLDERS)
def test_holds(folder: str, each_terraform: Terraform, tree: Path) -> None:
    each_terraform.init(tree / folder)
    each_terraform("validate", "-no-color", folder=tree / folder)
    if _tests(folder):
        printed = each_terraform("test", "-no-color", folder=tree / folder)
        passed = _PASSED.search(printed)
        assert passed and int(passed[1]) == _count(_RUN, folder), printed


def _tests(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("tests/*.tftest.hcl"))


def _count(what: re.Pattern[str], folder: str) -> int:
    return sum(len(what.findall(file.read_text())) for file in _tests(folder))
