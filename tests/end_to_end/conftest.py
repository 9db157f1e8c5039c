"""Fixtures of end-to-end tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.local.runner import LocalRunner
from tests.google_cloud import UnpackedFunction, unpack_functions
from tests.modal_jobs import artifacts_of, deploying
from tests.modal_server import ModalServer, modal_server
from tests.modal_server.rpc import TOKEN_SECRET


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, UnpackedFunction]:
    """Every function, unpacked from its bundle beside what its requirements name."""
    return unpack_functions(tmp_path_factory.mktemp("functions"))


@pytest.fixture(scope="session")
def deployed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalServer]:
    """A server to which the command has deployed both jobs, twice."""
    with modal_server(tmp_path_factory.mktemp("modal")) as server:
        settings = {"EARWITNESS_MODELS_DIR": str(models), **server.environment}
        for expected in ("Uploaded 7 files", "Uploaded 0 files"):
            done = deploying("gpu", "deploy", **settings)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "Deployed: earwitness-transcribe, earwitness-diarize\n"
            assert expected in done.stderr
            assert TOKEN_SECRET not in done.stderr
        yield server


@pytest.fixture(scope="session")
def made_here(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """What this machine's workers make of the sample: what every other place is compared with."""
    folder = tmp_path_factory.mktemp("here")
    return artifacts_of(LocalRunner(models, folder / "logs"), folder / "cloud", "this machine's workers")
