"""Terraform for the tests of what is under `terraform/`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terraform.providers import MAJORS, Terraform, copied_tree, hosted, terraform


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"google-{major}")
def each_terraform(request: pytest.FixtureRequest) -> Iterator[Terraform]:
    """Terraform, with each major of Google's provider in turn."""
    with hosted(terraform(request.param)) as started:
        yield started


@pytest.fixture(scope="session")
def newest_terraform() -> Iterator[Terraform]:
    """Terraform with the newest major."""
    with hosted(terraform(MAJORS[-1])) as started:
        yield started


@pytest.fixture(scope="session")
def tree(each_terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `terraform/` for each major, which tests do not change but for what `init` leaves."""
    return copied_tree(tmp_path_factory.mktemp(f"google-{each_terraform.major}"))
