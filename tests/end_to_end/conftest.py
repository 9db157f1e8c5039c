"""Fixtures of end-to-end tests."""

from collections.abc import Mapping

import pytest

from tests.google_cloud import UnpackedFunction, unpack_functions


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, UnpackedFunction]:
    """Every function, unpacked from its bundle beside what its requirements name."""
    return unpack_functions(tmp_path_factory.mktemp("functions"))
