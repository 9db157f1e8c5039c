"""Where models lie, and one that is kept warm; what is done ahead of need."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

MODELS_DIR_VARIABLE = "EARWITNESS_MODELS_DIR"
MODELS_MOUNT = "/models"
# One thread a model: more of them fight over shared cores, and parallelism comes from windows and processes.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
Loaded = TypeVar("Loaded")


def models_dir() -> Path:
    """The folder that holds a folder for each model."""
    return Path(os.environ.get(MODELS_DIR_VARIABLE, MODELS_MOUNT))


def ahead_of_need(step: Callable[[], object]) -> None:
    """Do now what an attempt would otherwise wait for.

    A failure is only logged: the attempt that needs it tries again, and reports the error as its own, to someone who
    can act on it.
    """
    try:
        step()
    except Exception:
        log.exception("could not be done ahead of need")


class WarmModel(Generic[Loaded]):
    """A model that is loaded once, ahead of need if possible."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._loaded: Loaded | None = None
        self._load_s = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether the next use need not wait."""
        return self._loaded is not None

    def try_to_load(self) -> None:
        """Load ahead of need."""
        ahead_of_need(self._ensure)

    def get(self) -> tuple[Loaded, float]:
        """The model, and the seconds its loading took if this is the first use, else 0.

        Raises:
            PipelineError: ``model.unknown`` or ``model.unavailable``.
        """
        loaded = self._ensure()
        load_s, self._load_s = self._load_s, 0.0
        return loaded, load_s

    def _ensure(self) -> Loaded:
        if self._loaded is None:
            started = time.perf_counter()
            self._loaded = self._load()
            self._load_s = time.perf_counter() - started
        return self._loaded
