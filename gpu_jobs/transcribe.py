"""The transcribe stage: words, with times and probabilities, from a recording."""

import time
from pathlib import Path
from typing import IO, Any

import modal

from gpu_jobs.attempt import OnProgress, Outcome, run_attempt
from gpu_jobs.loading import MODELS_DIR_VARIABLE, MODELS_MOUNT, ONE_THREAD, WarmModel, ahead_of_need, models_dir
from gpu_jobs.placement import STARTUP_TIMEOUT_S, placement
from shared.events import Metrics
from shared.requests import StageRequest
from shared.stages import MODELS_VOLUME, STAGES
from shared.weights import DEFAULT_MODELS

STAGE = STAGES["transcribe"]
PLACEMENT = placement(STAGE)
# Read when the image is built, by whoever deploys.
LOCK = Path(__file__).parent / "locks" / f"{STAGE.name}.txt"

image = (
    modal.Image.debian_slim(python_version="3.11")
    .uv_pip_install(requirements=[str(LOCK)], extra_options="--require-hashes --no-deps")
    .env(
        {
            MODELS_DIR_VARIABLE: MODELS_MOUNT,
            "HF_HUB_OFFLINE": "1",
            **ONE_THREAD,
            "LD_LIBRARY_PATH": ":".join(
                f"/usr/local/lib/python3.11/site-packages/nvidia/{name}/lib" for name in ("cublas", "cudnn")
            ),
        }
    )
    .add_local_python_source("shared", "gpu_jobs")
)
app = modal.App(STAGE.app_name, image=image)
# Filled by whoever deploys; a job only reads it.
models = modal.Volume.from_name(MODELS_VOLUME, create_if_missing=True).with_mount_options(read_only=True)


# No retries by Modal: the pipeline repeats a failed attempt itself, with fresh URLs and a number of its own, and would
# not know of attempts that Modal made in between.
@app.cls(
    gpu=PLACEMENT.gpu,
    cpu=PLACEMENT.cpu_cores,
    memory=PLACEMENT.memory_mib,
    timeout=PLACEMENT.timeout_s,
    startup_timeout=STARTUP_TIMEOUT_S,
    max_containers=PLACEMENT.max_containers,
    scaledown_window=PLACEMENT.scaledown_window_s,
    volumes={MODELS_MOUNT: models},
    enable_memory_snapshot=True,
)
class Transcribe:
    """A warm speech model."""

    model: str = modal.parameter(default=DEFAULT_MODELS["transcribe"])

    @modal.enter(snap=True)
    def import_runtime(self) -> None:
        """Import the model's runtime, on a CPU: a container that starts from the snapshot has done so already."""
        from gpu_jobs.recognizer import import_runtime

        ahead_of_need(import_runtime)

    @modal.enter(snap=False)
    def load(self) -> None:
        """Load the model; a failure is left for the next attempt to report."""
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
            media,
            language=request.options.language,
            hotwords=request.options.hotwords,
            initial_prompt=request.options.initial_prompt,
            limits=request.limits,
            on_progress=on_progress,
        )
        metrics = Metrics(
            audio_s=heard.recognition.duration_s,
            compute_s=time.perf_counter() - started,
            load_s=load_s,
            model=recognizer.model.label,
            device=recognizer.device,
        )
        return Outcome({STAGE.products[0].filename: heard.recognition}, metrics, heard.notices)
