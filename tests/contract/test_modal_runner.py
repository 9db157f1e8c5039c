"""What Modal's runner does beyond what every runner promises: one request a start, bounded waits, plain data only.

Modal's own client talks to a server of this machine, whose faults are ordered.
"""
# ruff: noqa: F811 - fixtures are imported, and named again where they are asked for

import json
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import modal
import modal.exception
import pytest
from modal_proto import api_pb2 as pb

from infra.modal.failures import MEANINGS, meaning, translated
from infra.modal.runner import ModalRunner
from shared.errors import CATALOGUE, PipelineError
from shared.events import StageCompleted
from shared.options import JobOptions
from shared.ports import Call, CallState
from shared.requests import StageRequest
from shared.stages import MODELS_VOLUME
from shared.weights import DEFAULT_MODELS
from tests.clouds import behave, starts, wait_for
from tests.contract.runners import Backend, deployed, over, server  # noqa: F401 - the fixtures
from tests.modal_server import ModalServer, modal_client, modal_server, standins
from tests.modal_server.rpc import TOKEN_SECRET, Fault
from tests.unit.test_attempt import Cloud, cloud, request  # noqa: F401 - the fixture

SPAWN_REQUESTS = ("ClassGet", "FunctionGet", "FunctionBindParams", "FunctionMap")


def refusal(work: Callable[[], Any], code: str = "service.unavailable") -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        work()
    assert caught.value.code == code
    assert TOKEN_SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


def test_a_warm_runner_asks_once_a_start(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    before = len(server.received())
    for number in range(3):
        deployed.runner.start(request(cloud, job_id=f"job_warm_{number}"))
    asked = [name for name in server.received()[before:] if name in SPAWN_REQUESTS]
    assert sorted(asked) == sorted([*SPAWN_REQUESTS, "FunctionMap", "FunctionMap"])


@pytest.mark.parametrize(
    ("stage", "chosen", "model"),
    [
        ("transcribe", None, DEFAULT_MODELS["transcribe"]),
        ("transcribe", "tiny.en", "tiny.en"),
        ("diarize", "tiny.en", DEFAULT_MODELS["diarize"]),
    ],
)
def test_the_model_is_the_class_parameter(
    deployed: Backend,
    cloud: Cloud,
    stage: str,
    chosen: str | None,
    model: str,
) -> None:
    asked = request(cloud, stage=stage, job_id=f"job_{stage}", options=JobOptions(model=chosen))
    call = over(deployed.runner, deployed.runner.start(asked))
    assert isinstance(call.report, StageCompleted)
    assert call.report.metrics.model == model


def test_an_unknown_model_is_refused_before_anything_is_asked(
    server: ModalServer,
    deployed: Backend,
    cloud: Cloud,
) -> None:
    before = len(server.received())
    refusal(lambda: deployed.runner.start(request(cloud, options=JobOptions(model="nobody"))), "model.unknown")
    assert len(server.received()) == before


def test_requests_and_answers_are_cbor(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    asked = request(cloud, job_id="job_cbor")
    call_id = deployed.runner.start(asked)
    over(deployed.runner, call_id)
    call = server.state.calls[call_id]
    assert call.input.data_format == pb.DATA_FORMAT_CBOR
    (sent,), named = cbor2.loads(call.input.args)
    assert (StageRequest.from_data(sent), named) == (asked, {})
    assert call.data_format == pb.DATA_FORMAT_CBOR


@dataclass
class Hostile:
    """What makes a file when it is loaded."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_an_answer_that_is_a_pickle_is_never_loaded(
    server: ModalServer,
    deployed: Backend,
    cloud: Cloud,
    tmp_path: Path,
) -> None:
    """As from a container that was taken over: loading it would make a file."""
    behave(deployed.folder, transcribe={"hang": True})
    hostile = pickle.dumps(Hostile(tmp_path / "taken"))
    result = pb.GenericResult
    answers = [
        (result.GENERIC_STATUS_SUCCESS, pb.DATA_FORMAT_PICKLE),
        (result.GENERIC_STATUS_FAILURE, pb.DATA_FORMAT_PICKLE),
        (result.GENERIC_STATUS_FAILURE, pb.DATA_FORMAT_UNSPECIFIED),
    ]
    for number, (status, data_format) in enumerate(answers):
        call_id = deployed.runner.start(request(cloud, job_id=f"job_hostile_{number}"))
        server.answer(call_id, result(status=status, data=hostile), data_format)
        call = deployed.runner.poll(call_id)
        assert (call.state, call.error and call.error.code) == (CallState.FAILED, "stage.crashed")
    assert not (tmp_path / "taken").exists()
    pickle.loads(hostile)
    assert (tmp_path / "taken").exists()  # so it would have done


@pytest.mark.parametrize("data", [b"", b"\x00", cbor2.dumps("text"), cbor2.dumps({"state": "done"}), b"\xff\xff"])
def test_an_answer_that_is_none_is_a_crash(
    server: ModalServer,
    deployed: Backend,
    cloud: Cloud,
    data: bytes,
) -> None:
    behave(deployed.folder, transcribe={"hang": True})
    call_id = deployed.runner.start(request(cloud))
    server.answer(
        call_id, pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS, data=data), pb.DATA_FORMAT_CBOR
    )
    call = deployed.runner.poll(call_id)
    assert (call.state, call.error and call.error.code) == (CallState.FAILED, "stage.crashed")


def test_an_answer_that_was_put_into_a_blob_is_a_success_without_a_report(
    server: ModalServer, deployed: Backend, cloud: Cloud
) -> None:
    behave(deployed.folder, transcribe={"hang": True})
    call_id = deployed.runner.start(request(cloud))
    stored = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS, data_blob_id="bl-1")
    server.answer(call_id, stored, pb.DATA_FORMAT_CBOR)
    assert deployed.runner.poll(call_id) == Call(CallState.SUCCEEDED)


STATUSES = {
    "SUCCESS": None,
    "TERMINATED": "stage.lost",
    "TIMEOUT": "stage.timeout",
    "IDLE_TIMEOUT": "stage.timeout",
}


@pytest.mark.parametrize(("name", "status"), pb.GenericResult.GenericStatus.items())
def test_every_status_of_a_call_means_something(
    server: ModalServer,
    deployed: Backend,
    cloud: Cloud,
    name: str,
    status: int,
) -> None:
    behave(deployed.folder, transcribe={"hang": True})
    call_id = deployed.runner.start(request(cloud))
    answer = pb.GenericResult(status=status, data=cbor2.dumps({"ok": True}), exception="/home/secret")
    server.answer(call_id, answer, pb.DATA_FORMAT_CBOR)
    call = deployed.runner.poll(call_id)
    expected = STATUSES.get(name.removeprefix("GENERIC_STATUS_"), "stage.crashed")
    assert (call.error.code if call.error else None) == expected
    assert "secret" not in str(call)


def test_a_request_too_large_for_a_message_goes_through_a_blob(
    server: ModalServer,
    deployed: Backend,
    cloud: Cloud,
) -> None:
    # Signed URLs are long: several of them are more than the 8 KiB that a spawn may carry.
    asked = request(cloud, job_id="job_large", inputs={"media": "http://127.0.0.1/" + "x" * 20_000})
    call_id = deployed.runner.start(asked)
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED
    assert server.state.calls[call_id].input.args_blob_id
    assert "BlobCreate" in server.received()


def test_a_result_that_was_thrown_away_is_lost(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    call_id = deployed.runner.start(request(cloud))
    over(deployed.runner, call_id)
    server.expire(call_id)
    assert deployed.runner.poll(call_id) == Call(CallState.LOST)


def test_a_lost_answer_starts_one_call(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    before = len(server.call_ids())
    server.order("FunctionMap", Fault.ANSWER_LOST)
    call_id = deployed.runner.start(request(cloud, job_id="job_lost"))
    assert len(server.call_ids()) == before + 1
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED


def test_a_server_that_stutters_is_asked_again(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    for name in (*SPAWN_REQUESTS, "FunctionGetOutputs", "FunctionCallCancel"):
        server.order(name, Fault.UNAVAILABLE)
    call_id = deployed.runner.start(request(cloud, job_id="job_stutter"))
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED
    deployed.runner.cancel(call_id)


@pytest.mark.parametrize("name", SPAWN_REQUESTS)
def test_a_silent_server_costs_a_bounded_time(
    server: ModalServer,
    cloud: Cloud,
    name: str,
) -> None:
    runner = ModalRunner(client=server.client(), timeout_s=0.5)
    server.order(name, Fault.SILENT)
    began = time.monotonic()
    refusal(lambda: runner.start(request(cloud)))
    assert time.monotonic() - began < 2.0
    runner.cancel(runner.start(request(cloud)))  # the same attempt, once more


@pytest.mark.parametrize("name", ["FunctionGetOutputs", "FunctionCallCancel"])
def test_polling_and_canceling_are_bounded_too(server: ModalServer, cloud: Cloud, name: str) -> None:
    runner = ModalRunner(client=server.client(), timeout_s=0.5)
    server.order(name, Fault.SILENT)
    began = time.monotonic()
    refusal(lambda: (runner.poll if name == "FunctionGetOutputs" else runner.cancel)("fc-any"))
    assert time.monotonic() - began < 2.0


def test_a_connection_that_went_silent_is_made_anew(
    server: ModalServer,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a function's process has slept for an hour."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    runner = ModalRunner(timeout_s=3.0)  # of a busy machine, too, where what answers is no failure
    try:
        over(runner, runner.start(request(cloud, job_id="job_awake")))
        before = server.connections()
        server.order("FunctionMap", Fault.SILENT)
        refusal(lambda: runner.start(request(cloud, job_id="job_asleep")))
        assert over(runner, runner.start(request(cloud, job_id="job_asleep"))).state is CallState.SUCCEEDED
        assert server.connections() == before + 1
    finally:
        runner.close()


def test_a_workspace_at_its_limit_is_told(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:
    server.order("FunctionMap", Fault.EXHAUSTED)
    assert "limit" in refusal(lambda: deployed.runner.start(request(cloud))).message


@pytest.mark.parametrize("work", ["start", "poll", "cancel"])
def test_an_unreachable_server_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
    cloud: Cloud,
    work: str,
) -> None:
    """With a client of its own, as in a function: it is made when it is first needed."""
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-closed")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", TOKEN_SECRET)
    runner = ModalRunner(timeout_s=0.5)
    began = time.monotonic()
    error = refusal(lambda: runner.start(request(cloud)) if work == "start" else getattr(runner, work)("fc-any"))
    assert "could not be reached" in error.message
    assert time.monotonic() - began < 2.0


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, cloud: Cloud) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID", raising=False)
    monkeypatch.delenv("MODAL_TOKEN_SECRET", raising=False)
    monkeypatch.setattr("modal.config._user_config", {})
    assert "MODAL_TOKEN_ID" in refusal(lambda: ModalRunner().start(request(cloud))).message


def test_refused_credentials_are_told(server: ModalServer, cloud: Cloud) -> None:
    runner = ModalRunner(client=modal_client(server.url, "as-wrong-secret"))
    for work in (lambda: runner.start(request(cloud)), lambda: runner.poll("fc-x"), lambda: runner.cancel("fc-x")):
        error = refusal(work)
        assert "credentials" in error.message
        assert "as-wrong-secret" not in "".join(traceback.format_exception(error)) + json.dumps(error.details)


def test_what_is_not_deployed_is_told(server: ModalServer, cloud: Cloud) -> None:
    runner = ModalRunner(client=server.client(), environment="staging")
    message = refusal(lambda: runner.start(request(cloud))).message
    assert "earwitness-transcribe" in message
    assert "'staging'" in message
    assert "earwitness gpu deploy" in message


def test_an_environment_has_apps_of_its_own(server: ModalServer, cloud: Cloud) -> None:
    server.deploy(standins, environment="elsewhere")
    runner = ModalRunner(client=server.client(), environment="elsewhere")
    assert over(runner, runner.start(request(cloud))).state is CallState.SUCCEEDED


def test_a_server_that_goes_and_comes_back(tmp_path: Path, cloud: Cloud) -> None:
    with modal_server(tmp_path) as server:
        server.deploy(standins)
        behave(server.volume_folder(MODELS_VOLUME), transcribe={"hang": True})
        runner = ModalRunner(client=server.client(), timeout_s=1.0)
        call_id = runner.start(request(cloud))
        wait_for(lambda: starts(server.volume_folder(MODELS_VOLUME)))
        port = int(server.url.rpartition(":")[2])
    for work in (lambda: runner.poll(call_id), lambda: runner.cancel(call_id)):
        refusal(work)
    with modal_server(tmp_path, port) as server:
        assert runner.poll(call_id) == Call(CallState.LOST)
        assert "not deployed" in refusal(lambda: runner.start(request(cloud, attempt=3))).message
        server.deploy(standins)
        behave(server.volume_folder(MODELS_VOLUME))
        assert over(runner, runner.start(request(cloud, attempt=3))).state is CallState.SUCCEEDED


def test_a_server_that_is_a_process_of_its_own(
    tmp_path: Path,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.modal_server", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for name, value in json.loads(process.stdout.readline()).items():
            monkeypatch.setenv(name, value)
        runner = ModalRunner()
        assert "not deployed" in refusal(lambda: runner.start(request(cloud))).message
        runner.close()
    finally:
        process.terminate()
        assert process.wait(10) == 0


# --- exceptions of Modal's client --------------------------------------------------------------------------------

KINDS = [
    kind
    for name, kind in vars(modal.exception).items()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and not issubclass(kind, Warning)
    and not name.startswith("_")
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_has_a_meaning(kind: type[Exception]) -> None:
    assert meaning(kind).code in CATALOGUE
    with pytest.raises(PipelineError) as caught, translated():
        raise kind.__new__(kind)
    assert caught.value.code == meaning(kind).code


def test_the_map_names_only_what_exists_and_waits_for_what_someone_mends() -> None:
    assert len(KINDS) > 30
    assert {entry.code for entry in MEANINGS.values()} == {"service.unavailable", "internal"}
    for kind in (modal.exception.AuthError, modal.exception.NotFoundError, modal.exception.ServiceError, OSError):
        assert meaning(kind).code == "service.unavailable"
    assert meaning(modal.exception.SerializationError).code == "internal"
