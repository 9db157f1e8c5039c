"""The chapter for platform teams, run: real bundles, real Terraform, and a provider that makes believe to apply."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from infra.bundle import CONTENTS
from tests.docs.chapter import refused_by_gcloud, run_chapter
from tests.terraform.providers import ROOT, Terraform, copied_tree

CHAPTER = (ROOT / "README.md").read_text()
SCRIPT = "".join(re.findall(r"```sh\n(.*?)```", CHAPTER, re.DOTALL))
BUNDLES = Path("terraform", "examples", "minimal", "bundles")


@pytest.fixture(scope="module")
def commands(newest_terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Sequence[list[str]]:
    """Every call of a program that needs a cloud; the others have really run."""
    if not newest_terraform.stands_in:
        pytest.skip("Google's own provider applies to a real project alone")
    folder = tmp_path_factory.mktemp("chapter")
    copied_tree(folder)
    found = run_chapter(
        SCRIPT,
        folder,
        ("gcloud", "curl"),
        answers={"keys": "ew_a_first_key"},
        environment=newest_terraform.environment,
        typed="yes\n",
    )
    assert {path.stem for path in (folder / BUNDLES).iterdir()} == set(CONTENTS)
    return found


def test_from_zero_to_a_first_job(commands: Sequence[list[str]], tell: Callable[[str], None]) -> None:
    assert ["earwitness", "gpu", "deploy"] in commands and ["earwitness", "keys", "create", "first"] in commands
    (asked,) = (command for command in commands if command[0] == "curl")
    # The address is one that the stand-in has made up, or has not.
    assert asked[2].endswith("/v1/jobs") and "x-api-key: ew_a_first_key" in asked
    tell(f"{len(commands)} commands of the chapter noted, the others run")


def test_gcloud_takes_its_commands(commands: Sequence[list[str]], tmp_path: Path) -> None:
    assert len([command for command in commands if command[0] == "gcloud"]) > 7
    assert refused_by_gcloud(commands, tmp_path) == []


def test_a_person_may_apply_what_counts_calls_for_a_project() -> None:
    """Of a person's credentials Google's rules and budgets ask which project calls."""
    assert "export USER_PROJECT_OVERRIDE=true GOOGLE_BILLING_PROJECT=$PROJECT" in SCRIPT.partition("terraform ")[0]
