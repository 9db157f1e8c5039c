"""What every stage runner promises: an attempt is started once, is over one day, and what came of it is known.

``local`` is the local runner, whose workers are stand-ins; ``modal`` is the runner of Modal, with Modal's own client,
on a server of this machine, which runs stand-in classes in Modal's own containers as processes. What is said of a
container's crash or of a memory limit is this server's word, not Modal's.
"""

import json
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import modal
import modal.exception
import pytest
from modal_proto import api_pb2 as pb

from infra.local.runner import LocalRunner
from infra.modal.failures import MEANINGS, meaning, translated
from infra.modal.runner import ModalRunner
from shared.errors import CATALOGUE, PipelineError
from shared.events import StageCompleted
from shared.options import JobOptions
from shared.ports import Call, CallState, StageRunner
from shared.requests import StageRequest
from shared.stages import MODELS_VOLUME
from shared.weights import DEFAULT_MODELS
from tests.clouds import STANDIN, behave, starts, wait_for
from tests.modal_server import ModalServer, modal_client, modal_server, standins
from tests.modal_server.rpc import TOKEN_SECRET, Fault
from tests.unit.test_attempt import Cloud, cloud, request  # noqa: F401 - the fixture

SPAWN_REQUESTS = ("ClassGet", "FunctionGet", "FunctionBindParams", "FunctionMap")


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


@pytest.fixture(params=["local", "modal"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "modal":
        yield request.getfixturevalue("deployed")
        return
    runner = LocalRunner(tmp_path, tmp_path / "logs", worker=STANDIN)

    def shorten(request: StageRequest) -> StageRequest:
        return request.model_copy(update={"deadline": datetime.now(UTC) + timedelta(seconds=2)})

    yield Backend(runner, tmp_path, shorten)
    runner.close()


def over(runner: StageRunner, call_id: str) -> Call:
    """The call once it is no longer running."""
    return wait_for(lambda: (call := runner.poll(call_id)).state is not CallState.RUNNING and call, every_s=0.02)


def has_started(backend: Backend, job_id: str) -> bool:
    return any(job_id == started for _, started, _, _ in starts(backend.folder))


# --- every runner ------------------------------------------------------------------------------------------------


def test_an_attempt_runs_and_its_report_is_kept(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert (call.state, call.error) == (CallState.SUCCEEDED, None)
    assert isinstance(call.report, StageCompleted)
    assert (call.report.stage, call.report.attempt, call.report.metrics.audio_s) == ("transcribe", 2, 2.0)
    assert list(cloud.artifacts) == ["/words.json?signature=s"]
    assert cloud.last_report == call.report


def test_a_report_that_never_came_is_gathered(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    behave(backend.folder, transcribe={"silent": True})
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert cloud.reports == []
    assert isinstance(call.report, StageCompleted)


def test_a_call_under_way_is_running(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    behave(backend.folder, diarize={"hang": True})
    call_id = backend.runner.start(request(cloud, stage="diarize", job_id="job_r"))
    assert backend.runner.poll(call_id) == Call(CallState.RUNNING)
    wait_for(lambda: has_started(backend, "job_r"))
    assert backend.runner.poll(call_id) == Call(CallState.RUNNING)
    backend.runner.cancel(call_id)


def test_a_second_start_of_an_attempt_is_the_first(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: backend.runner.start(request(cloud, job_id="job_twice")), range(8)))
    (call_id,) = ids
    over(backend.runner, call_id)
    assert backend.runner.start(request(cloud, job_id="job_twice")) == call_id
    assert len(starts(backend.folder)) == 1
    other = backend.runner.start(request(cloud, job_id="job_twice", attempt=3))
    assert other != call_id
    over(backend.runner, other)


def test_many_attempts_at_once_are_each_run_once(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    wanted = [
        request(cloud, job_id=f"job_{number}", stage=stage)
        for number in range(20)
        for stage in ("transcribe", "diarize")
    ]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(backend.runner.start, wanted))
    assert len(set(ids)) == len(wanted)
    assert {over(backend.runner, call_id).state for call_id in ids} == {CallState.SUCCEEDED}
    ran = sorted((job_id, stage) for _, job_id, stage, _ in starts(backend.folder))
    assert ran == sorted((each.job_id, each.stage) for each in wanted)


def test_a_failure_keeps_its_code(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    error = PipelineError("media.corrupt", "It is torn.").info
    behave(backend.folder, transcribe={"fail": error.model_dump()})
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert call == Call(CallState.FAILED, error)


def test_a_crash_is_told_and_the_next_attempt_runs(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    behave(backend.folder, transcribe={"crash": 2})
    crashed = over(backend.runner, backend.runner.start(request(cloud)))
    assert crashed == Call(CallState.FAILED, PipelineError("stage.crashed").info)
    following = over(backend.runner, backend.runner.start(request(cloud, attempt=3)))
    assert following.state is CallState.SUCCEEDED


def test_an_attempt_that_takes_too_long_is_ended(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    behave(backend.folder, transcribe={"hang": True})
    call_id = backend.runner.start(backend.shorten(request(cloud)))
    assert over(backend.runner, call_id) == Call(CallState.FAILED, PipelineError("stage.timeout").info)


def test_a_canceled_call_stops_soon_and_the_next_runs(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    behave(backend.folder, diarize={"hang": True})
    call_id = backend.runner.start(request(cloud, stage="diarize", job_id="job_c"))
    wait_for(lambda: has_started(backend, "job_c"))
    backend.runner.cancel(call_id)
    call = backend.runner.poll(call_id)
    assert call.state is CallState.FAILED
    assert call.error == PipelineError("stage.lost", "The attempt was canceled.").info
    behave(backend.folder)
    following = backend.runner.start(request(cloud, stage="diarize", attempt=3))
    assert over(backend.runner, following).state is CallState.SUCCEEDED


def test_a_call_that_is_over_or_unknown_can_be_canceled(backend: Backend, cloud: Cloud) -> None:  # noqa: F811
    call_id = backend.runner.start(request(cloud))
    before = over(backend.runner, call_id)
    backend.runner.cancel(call_id)
    assert backend.runner.poll(call_id) == before
    for unknown in ("fc-unknown", "0123456789abcdef/job/transcribe/1"):
        backend.runner.cancel(unknown)


@pytest.mark.parametrize("call_id", ["fc-unknown", "0123456789abcdef/job/transcribe/1", ""])
def test_an_unknown_call_is_lost(backend: Backend, call_id: str) -> None:
    assert backend.runner.poll(call_id) == Call(CallState.LOST)


# --- Modal's -----------------------------------------------------------------------------------------------------


def refusal(work: Callable[[], Any], code: str = "service.unavailable") -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        work()
    assert caught.value.code == code
    assert TOKEN_SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


def test_a_warm_runner_asks_once_a_start(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
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
    cloud: Cloud,  # noqa: F811
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
    cloud: Cloud,  # noqa: F811
) -> None:
    before = len(server.received())
    refusal(lambda: deployed.runner.start(request(cloud, options=JobOptions(model="nobody"))), "model.unknown")
    assert len(server.received()) == before


def test_requests_and_answers_are_cbor(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
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
    cloud: Cloud,  # noqa: F811
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
    cloud: Cloud,  # noqa: F811
    data: bytes,
) -> None:
    behave(deployed.folder, transcribe={"hang": True})
    call_id = deployed.runner.start(request(cloud))
    server.answer(
        call_id, pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS, data=data), pb.DATA_FORMAT_CBOR
    )
    call = deployed.runner.poll(call_id)
    assert (call.state, call.error and call.error.code) == (CallState.FAILED, "stage.crashed")


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
    cloud: Cloud,  # noqa: F811
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
    cloud: Cloud,  # noqa: F811
) -> None:
    # Signed URLs are long: several of them are more than the 8 KiB that a spawn may carry.
    asked = request(cloud, job_id="job_large", inputs={"media": "http://127.0.0.1/" + "x" * 20_000})
    call_id = deployed.runner.start(asked)
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED
    assert server.state.calls[call_id].input.args_blob_id
    assert "BlobCreate" in server.received()


def test_a_result_that_was_thrown_away_is_lost(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
    call_id = deployed.runner.start(request(cloud))
    over(deployed.runner, call_id)
    server.expire(call_id)
    assert deployed.runner.poll(call_id) == Call(CallState.LOST)


def test_a_lost_answer_starts_one_call(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
    before = len(server.call_ids())
    server.order("FunctionMap", Fault.ANSWER_LOST)
    call_id = deployed.runner.start(request(cloud, job_id="job_lost"))
    assert len(server.call_ids()) == before + 1
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED


def test_a_server_that_stutters_is_asked_again(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
    for name in (*SPAWN_REQUESTS, "FunctionGetOutputs", "FunctionCallCancel"):
        server.order(name, Fault.UNAVAILABLE)
    call_id = deployed.runner.start(request(cloud, job_id="job_stutter"))
    assert over(deployed.runner, call_id).state is CallState.SUCCEEDED
    deployed.runner.cancel(call_id)


@pytest.mark.parametrize("name", SPAWN_REQUESTS)
def test_a_silent_server_costs_a_bounded_time(
    server: ModalServer,
    cloud: Cloud,  # noqa: F811
    name: str,
) -> None:
    runner = ModalRunner(client=server.client(), timeout_s=0.5)
    server.order(name, Fault.SILENT)
    began = time.monotonic()
    refusal(lambda: runner.start(request(cloud)))
    assert time.monotonic() - began < 2.0
    runner.cancel(runner.start(request(cloud)))  # the same attempt, once more


@pytest.mark.parametrize("name", ["FunctionGetOutputs", "FunctionCallCancel"])
def test_polling_and_canceling_are_bounded_too(server: ModalServer, cloud: Cloud, name: str) -> None:  # noqa: F811
    runner = ModalRunner(client=server.client(), timeout_s=0.5)
    server.order(name, Fault.SILENT)
    began = time.monotonic()
    refusal(lambda: (runner.poll if name == "FunctionGetOutputs" else runner.cancel)("fc-any"))
    assert time.monotonic() - began < 2.0


def test_a_workspace_at_its_limit_is_told(server: ModalServer, deployed: Backend, cloud: Cloud) -> None:  # noqa: F811
    server.order("FunctionMap", Fault.EXHAUSTED)
    assert "limit" in refusal(lambda: deployed.runner.start(request(cloud))).message


@pytest.mark.parametrize("work", ["start", "poll", "cancel"])
def test_an_unreachable_server_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
    cloud: Cloud,  # noqa: F811
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


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, cloud: Cloud) -> None:  # noqa: F811
    monkeypatch.delenv("MODAL_TOKEN_ID", raising=False)
    monkeypatch.delenv("MODAL_TOKEN_SECRET", raising=False)
    monkeypatch.setattr("modal.config._user_config", {})
    assert "MODAL_TOKEN_ID" in refusal(lambda: ModalRunner().start(request(cloud))).message


def test_refused_credentials_are_told(server: ModalServer, cloud: Cloud) -> None:  # noqa: F811
    runner = ModalRunner(client=modal_client(server.url, "as-wrong-secret"))
    for work in (lambda: runner.start(request(cloud)), lambda: runner.poll("fc-x"), lambda: runner.cancel("fc-x")):
        error = refusal(work)
        assert "credentials" in error.message
        assert "as-wrong-secret" not in "".join(traceback.format_exception(error)) + json.dumps(error.details)


def test_what_is_not_deployed_is_told(server: ModalServer, cloud: Cloud) -> None:  # noqa: F811
    runner = ModalRunner(client=server.client(), environment="staging")
    message = refusal(lambda: runner.start(request(cloud))).message
    assert "earwitness-transcribe" in message
    assert "'staging'" in message
    assert "earwitness gpu deploy" in message


def test_an_environment_has_apps_of_its_own(server: ModalServer, cloud: Cloud) -> None:  # noqa: F811
    server.deploy(standins, environment="elsewhere")
    runner = ModalRunner(client=server.client(), environment="elsewhere")
    assert over(runner, runner.start(request(cloud))).state is CallState.SUCCEEDED


def test_a_server_that_goes_and_comes_back(tmp_path: Path, cloud: Cloud) -> None:  # noqa: F811
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
