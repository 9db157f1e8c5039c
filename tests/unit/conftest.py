"""Fixtures of unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.wiring import GivenServices
from tests.services import told_services


@pytest.fixture
def services(tmp_path: Path) -> Iterator[GivenServices]:
    with told_services(tmp_path) as services:
        yield services
