"""Apps and classes of the names that are deployed, which answer in milliseconds and are no models.

Their volume is their models folder: they behave as ``behaviour.json`` in it says, like :mod:`tests.standin_worker`,
and note there what they have started.
"""

from typing import Any

import modal

from shared.stages import MODELS_VOLUME, STAGES
from tests.standin_worker import FOLDER_VARIABLE, answer

MOUNT = "/models"
image = (
    modal.Image.debian_slim(python_version="3.11")
    .env({FOLDER_VARIABLE: MOUNT})
    .add_local_python_source("shared", "tests", "gpu_jobs")
)
models = modal.Volume.from_name(MODELS_VOLUME, create_if_missing=True)
transcribe_app = modal.App(STAGES["transcribe"].app_name, image=image)
diarize_app = modal.App(STAGES["diarize"].app_name, image=image)


@transcribe_app.cls(volumes={MOUNT: models}, max_containers=2, scaledown_window=60, timeout=600)
class Transcribe:
    """Stands in for ``gpu_jobs.transcribe``."""

    model: str = modal.parameter(default="base")

    @modal.method()
    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        return answer(request, model=self.model)


@diarize_app.cls(volumes={MOUNT: models}, max_containers=2, scaledown_window=60, timeout=600)
class Diarize:
    """Stands in for ``gpu_jobs.diarize``."""

    model: str = modal.parameter(default="pyannote-3.0-campplus")

    @modal.method()
    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        return answer(request, model=self.model)
