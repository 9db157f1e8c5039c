"""What would be deployed to Modal, as its client sends it; the settings that change it; and the volume of models."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import modal
import pytest
from modal_proto import api_pb2 as pb

from gpu_jobs import diarize, transcribe
from gpu_jobs.loading import MODELS_DIR_VARIABLE
from gpu_jobs.placement import placement
from infra.modal.deploy import fill_volume
from shared import weights
from shared.errors import PipelineError
from shared.stages import MODELS_VOLUME, STAGES
from shared.weights import MODELS, Model, WeightFile
from tests.modal_server import ModalServer, modal_server
from tests.modal_server.containers import image_environment

MODULES = {"transcribe": transcribe, "diarize": diarize}
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Deployed:
    """One app as the server was told of it."""

    function: pb.Function
    commands: list[str]
    files: dict[str, bytes]
    environment: dict[str, str]
    sources: set[str]


def complaints(function: pb.Function) -> list[str]:
    """What Modal would not have, of which its client says nothing, and what this project would not."""
    retries, scaling = function.retry_policy, function.autoscaler_settings
    rules = {
        "timeout": 1 <= function.timeout_secs <= DAY_S,
        "startup_timeout": 1 <= function.startup_timeout_secs <= 3600,
        "retries": retries.retries <= 10,
        "retry delay": retries.initial_delay_ms <= 60_000 and retries.max_delay_ms <= 60_000,
        "scaledown_window": 2 <= scaling.scaledown_window <= 3600,
        "max_containers": 1 <= scaling.max_containers <= 1000,
        "memory snapshot": function.checkpointing_enabled,
        "secrets": not function.secret_ids,
        "volumes": all(mount.read_only for mount in function.volume_mounts),
    }
    return [name for name, is_kept in rules.items() if not is_kept]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModalServer]:
    with modal_server(tmp_path / "modal") as server:
        yield server


def deployed(server: ModalServer, name: str) -> Deployed:
    server.deploy(MODULES[name])
    stage = STAGES[name]
    app = server.state.apps["main", stage.app_name]
    function = server.state.functions[app.functions[f"{stage.class_name}.*"]]
    images = [message.image for message in server.received("ImageGetOrCreate")]
    mounts = [file for mount in function.definition.mount_ids for file in server.state.mounts[mount]]
    return Deployed(
        function=function.definition,
        commands=[command for image in images for command in image.dockerfile_commands],
        files={file.filename: file.data for image in images for file in image.context_files},
        environment=image_environment(server.state, function.definition.image_id),
        sources={file.filename for file in mounts},
    )


def test_every_gpu_stage_has_an_app() -> None:
    assert set(MODULES) == {name for name, stage in STAGES.items() if stage.placement == "gpu"}


@pytest.mark.parametrize("name", MODULES)
def test_a_class_is_deployed_as_the_stage_table_says(server: ModalServer, name: str) -> None:
    stage, found = STAGES[name], deployed(server, name)
    assert complaints(found.function) == []
    resources = found.function.resources
    assert (resources.gpu_config.gpu_type, resources.gpu_config.count) == (stage.gpu, 1)
    assert (resources.milli_cpu, resources.memory_mb) == (1000 * stage.cpu_cores, stage.memory_mib)
    assert found.function.timeout_secs == stage.timeout_s
    assert found.function.retry_policy.retries == 0
    assert {"run", "warm"} == set(found.function.method_definitions)
    (parameter,) = found.function.class_parameter_info.schema
    assert (parameter.name, parameter.string_default) == ("model", weights.DEFAULT_MODELS[name])


@pytest.mark.parametrize("name", MODULES)
def test_methods_take_and_give_plain_data(server: ModalServer, name: str) -> None:
    for method in deployed(server, name).function.method_definitions.values():
        assert pb.DATA_FORMAT_CBOR in method.supported_input_formats
        assert pb.DATA_FORMAT_CBOR in method.supported_output_formats


@pytest.mark.parametrize("name", MODULES)
def test_the_models_volume_is_mounted_where_the_job_looks(server: ModalServer, name: str) -> None:
    found = deployed(server, name)
    (mount,) = found.function.volume_mounts
    assert server.state.volumes[mount.volume_id] == MODELS_VOLUME
    assert found.environment[MODELS_DIR_VARIABLE] == mount.mount_path
    assert mount.read_only


@pytest.mark.parametrize("name", MODULES)
def test_the_image_is_locked_by_hash(server: ModalServer, name: str) -> None:
    found = deployed(server, name)
    modals_own = "RUN pip install --upgrade pip wheel uv"
    (install,) = [command for command in found.commands if "pip install" in command and command != modals_own]
    assert "--require-hashes" in install
    assert "--no-deps" in install
    lock = MODULES[name].LOCK
    assert lock.read_bytes() in found.files.values()
    pins = re.findall(r"^(\S+)==\S+.*\\$", lock.read_text(), re.MULTILINE)
    wanted = {"transcribe": {"faster-whisper", "nvidia-cublas-cu12"}, "diarize": {"pyannote-audio", "torch"}}[name]
    assert wanted | {"av", "httpx", "modal", "pydantic", "tenacity"} <= set(pins)
    assert lock.read_text().count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_secret_and_nothing_foreign_is_deployed(
    server: ModalServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARWITNESS_REPORT_KEYS", "a-report-key-of-thirty-two-characters")
    found = deployed(server, name)
    sent = "\n".join(str(message) for message in server.received(None) + server.received("FunctionCreate"))
    sent += "\n".join(found.commands) + str(found.environment) + str(found.function)
    for secret in ("a-report-key", *server.environment.values()):
        assert secret not in sent
    assert server.received("SecretGetOrCreate") == []
    assert {source.split("/")[2] for source in found.sources} == {"shared", "gpu_jobs"}


def test_a_definition_that_modal_would_refuse_is_complained_of(server: ModalServer) -> None:
    """Its client sends such limits without a word."""
    app = modal.App("wrong")
    app.function(
        serialized=True,
        timeout=2 * DAY_S,
        startup_timeout=2 * DAY_S,
        retries=modal.Retries(max_retries=11),
        volumes={"/models": modal.Volume.from_name("wrong", create_if_missing=True)},
        max_containers=2000,
    )(lambda: None)
    app.deploy(client=server.client())
    (message,) = server.received("FunctionCreate")
    assert set(complaints(message.function)) == {
        *("timeout", "startup_timeout", "retries", "scaledown_window", "max_containers"),
        *("memory snapshot", "volumes"),
    }
    slow = pb.Function(secret_ids=["st-1"], retry_policy=pb.FunctionRetryPolicy(max_delay_ms=61_000))
    assert {"secrets", "retry delay"} <= set(complaints(slow))


# --- settings of whoever deploys ---------------------------------------------------------------------------------


def test_settings_change_what_is_deployed(server: ModalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GPU_DIARIZE", "h100:2"), ("MAX_CONTAINERS", "3"), ("SCALEDOWN_WINDOW_S", "7")):
        monkeypatch.setenv(f"EARWITNESS_{name}", value)
    function = deployed(server, "diarize").function
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("H100", 2)
    assert (function.autoscaler_settings.max_containers, function.autoscaler_settings.scaledown_window) == (3, 7)
    assert deployed(server, "transcribe").function.resources.gpu_config.gpu_type == "L4"


def test_no_accelerator_can_be_asked_for() -> None:
    assert placement(STAGES["transcribe"], {"EARWITNESS_GPU_TRANSCRIBE": "none"}).gpu is None
    assert placement(STAGES["transcribe"], {"EARWITNESS_GPU_TRANSCRIBE": " "}).gpu == "L4"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("GPU_DIARIZE", value) for value in ("T4;", "2xT4", "T4:0", "T4:9", "T4:two", "-")),
        *(("MAX_CONTAINERS", value) for value in ("0", "1001", "-1", "many", "1.5", "²")),
        *(("SCALEDOWN_WINDOW_S", value) for value in ("1", "3601", "two minutes")),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(name: str, value: str) -> None:
    with pytest.raises(PipelineError) as caught:
        placement(STAGES["diarize"], {f"EARWITNESS_{name}": value})
    assert caught.value.code == "request.invalid"
    assert f"EARWITNESS_{name}" in caught.value.message


# --- the volume --------------------------------------------------------------------------------------------------

CONTENT = {"config.json": b"{}", "model.bin": bytes(range(256)) * 40_000}
ALIAS = "tiny-test"


@pytest.fixture
def small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with one in it: a small file, and one that is too large for a message."""
    files = tuple(WeightFile(name, hashlib.sha256(content).hexdigest(), ()) for name, content in CONTENT.items())
    monkeypatch.setattr(weights, "MODELS", {**MODELS, ALIAS: Model(ALIAS, "transcribe", "MIT", "r1", files)})
    folder = tmp_path / "models" / ALIAS
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder.parent


def in_volume(server: ModalServer) -> dict[str, bytes]:
    folder = server.volume_folder(MODELS_VOLUME)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_volume_is_filled_once(server: ModalServer, small_model: Path) -> None:
    client = server.client()
    paths = [f"{ALIAS}/{name}" for name in CONTENT]
    assert fill_volume(client, [ALIAS], small_model) == paths
    assert in_volume(server) == {f"{ALIAS}/{name}": content for name, content in CONTENT.items()}
    uploads = len(server.received("VolumePutFiles"))
    assert fill_volume(client, [ALIAS], small_model) == []
    assert len(server.received("VolumePutFiles")) == uploads


def test_what_is_missing_or_of_another_size_is_uploaded_again(server: ModalServer, small_model: Path) -> None:
    client = server.client()
    fill_volume(client, [ALIAS], small_model)
    volume = server.volume_folder(MODELS_VOLUME) / ALIAS
    (volume / "model.bin").unlink()
    assert fill_volume(client, [ALIAS], small_model) == [f"{ALIAS}/model.bin"]
    (volume / "config.json").unlink()
    (volume / "config.json").write_bytes(b"{")
    assert fill_volume(client, [ALIAS], small_model) == [f"{ALIAS}/config.json"]
    assert in_volume(server) == {f"{ALIAS}/{name}": content for name, content in CONTENT.items()}


def test_a_file_that_is_damaged_here_is_not_uploaded(server: ModalServer, small_model: Path) -> None:
    (small_model / ALIAS / "model.bin").write_bytes(b"not what is listed")
    with pytest.raises(PipelineError) as caught:
        fill_volume(server.client(), [ALIAS], small_model)
    assert caught.value.code == "model.corrupt"
    assert in_volume(server) == {}
