"""The official ``openai`` client against clouds of its own: one that waits for a moment only, and the real models."""

from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from infra.local.cloud import LocalCloud
from infra.local.runner import LocalRunner
from infra.settings import Settings
from tests.clouds import Phone, behave, standin_cloud
from tests.media import encode, tone
from tests.recordings import dialogue


def test_a_job_that_takes_longer_than_the_wait_goes_on(tmp_path: Path) -> None:
    with standin_cloud(tmp_path, transcription_wait_s=0.2) as cloud:
        behave(tmp_path, transcribe={"sleep_s": 1.0})
        client = OpenAI(api_key=cloud.owner_token, base_url=f"{cloud.url}/v1", max_retries=5)
        with pytest.raises(openai.InternalServerError) as raised:
            client.audio.transcriptions.create(file=encode("wav", tone(1.0)), model="whisper-1")
        assert (raised.value.status_code, raised.value.code) == (504, "job.unfinished")
        phone = Phone(cloud.url, cloud.owner_token)
        assert phone.wait(raised.value.response.headers["x-job-id"])["state"] == "completed"
        assert len(cloud.jobs.list()) == 1  # the client was told not to try again


@pytest.mark.models
def test_with_the_real_models(models: Path, tmp_path: Path, tell: Callable[[str], None]) -> None:
    recording = dialogue()
    cloud = LocalCloud(
        Settings(data_dir=tmp_path / "cloud", models_dir=models), runner=LocalRunner(models, tmp_path / "logs")
    )
    with cloud:
        client = OpenAI(api_key=cloud.owner_token, base_url=f"{cloud.url}/v1", max_retries=0)
        events = list(
            client.audio.transcriptions.create(file=recording.path, model="tiny.en", language="en", stream=True)
        )
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = events[-1]
    assert done.type == "transcript.text.done" and "".join(deltas) == done.text
    heard, said = (set(text.lower().replace(",", "").replace(".", "").split()) for text in (done.text, recording.text))
    assert len(heard & said) > len(said) / 2
    tell(f"{len(deltas)} deltas: {done.text[:150]}…")
