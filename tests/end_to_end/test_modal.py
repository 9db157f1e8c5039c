"""The deployed jobs themselves: real models in Modal's containers, weights from its volume, by its own client."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local.cloud import LocalCloud
from infra.modal.runner import ModalRunner
from infra.settings import Settings
from shared.stages import MODELS_VOLUME
from shared.weights import DEFAULT_MODELS, find_model
from tests.clouds import Phone
from tests.modal_jobs import ARTIFACTS, artifacts_of, deploying
from tests.modal_server import ModalServer, modal_server
from tests.recordings import sample

# --- what a person is told ---------------------------------------------------------------------------------------

CLOSED = {"MODAL_SERVER_URL": "http://127.0.0.1:9", "MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-hidden"}


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("--models", "nobody"), {}, "error: model.unknown: There is no model 'nobody'"),
        ((), {}, "error: service.unavailable: Modal refused the credentials, or there are none"),
        ((), CLOSED, "error: service.unavailable: Modal could not be reached"),
    ],
    ids=["unknown model", "no credentials", "unreachable"],
)
def test_what_cannot_be_deployed_is_told(arguments: tuple[str, ...], environment: dict[str, str], told: str) -> None:
    began = time.monotonic()
    done = deploying("gpu", "deploy", *arguments, **environment)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "as-hidden" not in done.stderr + done.stdout
    assert time.monotonic() - began < 30


def test_refused_credentials_are_told(tmp_path: Path) -> None:
    with modal_server(tmp_path) as server:
        done = deploying("gpu", "deploy", **{**server.environment, "MODAL_TOKEN_SECRET": "as-wrong"})
    assert done.returncode == 1
    assert "Modal refused the credentials" in done.stderr
    assert "as-wrong" not in done.stderr


# --- the real thing ----------------------------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.slow
def test_the_volume_holds_every_file_of_the_default_models(deployed: ModalServer, models: Path) -> None:
    volume = deployed.volume_folder(MODELS_VOLUME)
    for alias in DEFAULT_MODELS.values():
        for file in find_model(alias).files:
            assert (volume / alias / file.name).stat().st_size == (models / alias / file.name).stat().st_size


@pytest.mark.models
@pytest.mark.slow
def test_a_job_on_modal_gives_what_it_gives_here(
    deployed: ModalServer, made_here: Mapping[str, bytes], tmp_path: Path
) -> None:
    """The same recording through the local workers and through the deployed classes: the same bytes."""
    there = artifacts_of(ModalRunner(client=deployed.client()), tmp_path / "there", "Modal's containers")
    assert set(made_here) == set(ARTIFACTS)
    assert there == made_here
    assert b"SPEAKER_01" in there["transcript.json"]
    assert deployed.state.unimplemented == []
    warm = artifacts_of(ModalRunner(client=deployed.client()), tmp_path / "warm", "Modal's containers, again")
    assert warm == made_here


@pytest.mark.models
@pytest.mark.slow
def test_a_model_that_the_volume_lacks_is_told(deployed: ModalServer, tmp_path: Path) -> None:
    """Its container starts all the same, and the attempt says why it fails."""
    settings = Settings(data_dir=tmp_path / "cloud")
    with LocalCloud(settings, runner=ModalRunner(client=deployed.client())) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job_id = phone.send(sample().path.read_bytes(), options={"model": "small", "diarize": False})
        job = phone.wait(job_id, timeout_s=120)
    assert (job["state"], job["error"]["code"]) == ("failed", "model.unavailable")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "questions"),
    [
        ("recognizer", "ctranslate2.get_cuda_device_count"),
        ("diarizer", "torch.cuda.is_available torch.cuda.device_count torch.cuda._lazy_init"),
    ],
)
def test_what_a_snapshot_holds_has_looked_for_no_accelerator(module: str, questions: str) -> None:
    """There is none where it is taken, and some libraries remember the answer."""
    code = f"""
import importlib
def refuse(*_):
    raise SystemExit("an accelerator was looked for")
for question in {questions.split()!r}:
    holder, _, name = question.rpartition(".")
    setattr(importlib.import_module(holder), name, refuse)
from gpu_jobs.{module} import import_runtime
import_runtime()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
