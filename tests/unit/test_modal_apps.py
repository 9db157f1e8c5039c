"""What the Modal apps declare, read without deploying them."""

import re

import pytest

from gpu_jobs import diarize, transcribe
from shared.stages import STAGES

APPS = {"transcribe": (transcribe, transcribe.Transcribe), "diarize": (diarize, diarize.Diarize)}


def test_every_gpu_stage_has_an_app() -> None:
    assert set(APPS) == {name for name, stage in STAGES.items() if stage.placement == "gpu"}


@pytest.mark.parametrize("name", APPS)
def test_the_image_is_locked_by_hash(name: str) -> None:
    lock = APPS[name][0].LOCK.read_text()
    pins = re.findall(r"^(\S+)==\S+.*\\$", lock, re.MULTILINE)
    wanted = {"transcribe": {"faster-whisper", "nvidia-cublas-cu12"}, "diarize": {"pyannote-audio", "torch"}}[name]
    assert wanted | {"av", "httpx", "modal", "pydantic", "tenacity"} <= set(pins)
    assert lock.count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize("name", APPS)
def test_the_time_limit_is_the_stage_tables_and_one_modal_accepts(name: str) -> None:
    stage = STAGES[name]
    assert APPS[name][0].STAGE is stage
    assert 1 <= stage.timeout_s <= 24 * 3600
