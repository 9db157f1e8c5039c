"""Runners of stages to test: a server of Modal's with stand-ins on it, and a runner that uses them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.modal.runner import ModalRunner
from shared.ports import Call, CallState, StageRunner
from shared.requests import StageRequest
from shared.stages import MODELS_VOLUME
from tests.clouds import wait_for
from tests.modal_server import ModalServer, modal_server, standins


@dataclass(frozen=True)
class Backend:
    """A runner, where its stand-ins read their orders, and how to leave an attempt less time."""

    runner: StageRunner
    folder: Path
    shorten: Callable[[StageRequest], StageRequest]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalServer]:
    with modal_server(tmp_path_factory.mktemp("modal")) as server:
        server.deploy(standins)
        yield server
        assert server.state.unimplemented == []


@pytest.fixture
def deployed(server: ModalServer) -> Iterator[Backend]:
    """A new runner on the one server, whose containers stay warm from test to test."""
    folder = server.volume_folder(MODELS_VOLUME)
    for name in ("behaviour.json", "started.txt"):
        (folder / name).unlink(missing_ok=True)
    runner = ModalRunner(client=server.client())

    def shorten(request: StageRequest) -> StageRequest:
        server.shorten_timeouts(0.5)
        return request

    yield Backend(runner, folder, shorten)
    server.shorten_timeouts(None)
    for call_id in server.call_ids():
        runner.cancel(call_id)


def over(runner: StageRunner, call_id: str) -> Call:
    """The call once it is no longer running."""
    return wait_for(lambda: (call := runner.poll(call_id)).state is not CallState.RUNNING and call, every_s=0.02)
