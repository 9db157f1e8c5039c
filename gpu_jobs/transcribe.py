"""The transcribe stage: words, with times and probabilities, from a recording."""

import time
from pathlib import Path
from typing import IO, Any

import modal

from gpu_jobs.attempt import OnProgress, Outcome, run_attempt
from gpu_jobs.loading import MODELS_DIR_VARIABLE, WarmModel, models_dir
from shared.events import Metrics
from shared.requests import StageRequest
from shared.stages import STAGES
from shared.weights import DEFAULT_MODELS

STAGE = STAGES["transcribe"]
MODELS_MOUNT = "/models"
# Read when the image is built, by whoever deploys.
LOCK = Path(__file__).parent / "locks" / f"{STAGE.name}.txt"

image = (
    modal.Image.debian_slim(python_version="3.11")
    .uv_pip_install(requirements=[str(LOCK)], extra_options="--require-hashes --no-deps")
    .env(
        {
            MODELS_DIR_VARIABLE: MODELS_MOUNT,
            "HF_HUB_OFFLINE": "1",
            "LD_LIBRARY_PATH": ":".join(
                f"/usr/local/lib/python3.11/site-packages/nvidia/{name}/lib" for name in ("cublas", "cudnn")
            ),
        }
    )
    .add_local_python_source("shared", "gpu_jobs")
)
app = modal.App("earwitness-transcribe", image=image)
models = modal.Volume.from_name("earwitness-models", create_if_missing=True)


@app.cls(gpu="L4", timeout=int(STAGE.timeout_s), volumes={MODELS_MOUNT: models}, scaledown_window=120)
class Transcribe:
    """A warm speech model."""

    model: str = modal.parameter(default=DEFAULT_MODELS["transcribe"])

    @modal.enter()
    def load(self) -> None:
        """Load the model; a failure is left for the next attempt to report."""
        # Imported here, so that deploying and dispatching need no model runtime.
        from gpu_jobs.recognizer import Recognizer

        self._model = WarmModel(lambda: Recognizer(models_dir(), self.model))
        self._model.try_to_load()

    @modal.method()
    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one attempt and report it.

        Args:
            request: A :class:`shared.requests.StageRequest` as plain data.

        Returns:
            See :func:`gpu_jobs.attempt.run_attempt`.
        """
        return run_attempt(StageRequest.from_data(request), self._work)

    @modal.method()
    def warm(self) -> bool:
        """Have a container with the model loaded, ahead of need; whether that worked."""
        return self._model.is_loaded

    def _work(self, media: IO[bytes], request: StageRequest, on_progress: OnProgress) -> Outcome:
        recognizer, load_s = self._model.get()
        started = time.perf_counter()
        heard = recognizer.recognize(
            media, language=request.options.language, limits=request.limits, on_progress=on_progress
        )
        metrics = Metrics(
            audio_s=heard.recognition.duration_s,
            compute_s=time.perf_counter() - started,
            load_s=load_s,
            model=recognizer.model.label,
            device=recognizer.device,
        )
        return Outcome({STAGE.products[0].filename: heard.recognition}, metrics, heard.notices)
