"""A GPU stage's process on this machine: ``python -m gpu_jobs.worker STAGE``.

Reads one request a line from standard input and answers each with one line of JSON on standard output; the first
line, ``{"ready": true}``, says that the model is warm. It runs the very class that Modal runs.

When standard input ends the parent is gone, and so is this process, at once, even amid a model's work.
"""

import argparse
import importlib
import json
import logging
import os
import queue
import sys
import threading
import warnings
from typing import IO, Any

from gpu_jobs.loading import ONE_THREAD
from shared.errors import PipelineError
from shared.requests import StageRequest
from shared.stages import STAGES
from shared.weights import DEFAULT_MODELS

for _variable, _value in ONE_THREAD.items():
    os.environ.setdefault(_variable, _value)

log = logging.getLogger("gpu_jobs.worker")


def main() -> None:
    """Serve until standard input ends."""
    arguments = _arguments()
    answers = _take_standard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "faster_whisper"):  # They log signed URLs, and a line for each window.
        logging.getLogger(name).setLevel(logging.WARNING)
    # Modal tells that local runs have no volumes. Models come from a folder here.
    warnings.filterwarnings("ignore", message=".*is executing locally", category=UserWarning)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), name="reader", daemon=True).start()

    models = _Models(arguments.stage)
    models.get(arguments.warm)
    _answer(answers, {"ready": True})
    while True:
        _answer(answers, _run(models, requests.get()))


def _arguments() -> argparse.Namespace:
    stages = [name for name, stage in STAGES.items() if stage.placement == "gpu"]
    parser = argparse.ArgumentParser(prog="gpu_jobs.worker", description="Run a GPU stage on this machine.")
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--warm", metavar="ALIAS", help="model to load first; the stage's default if left out")
    arguments = parser.parse_args()
    arguments.warm = arguments.warm or DEFAULT_MODELS[arguments.stage]
    return arguments


def _take_standard_output() -> IO[str]:
    """The real standard output, for answers alone; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    return answers


def _read(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        if line.strip():
            requests.put(line)
    os._exit(0)


def _answer(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _run(models: "_Models", line: str) -> dict[str, Any]:
    try:
        request = StageRequest.from_json(line)
    except ValueError:
        log.error("a request could not be read")
        return {"ok": False, "error": PipelineError("request.invalid").info.model_dump()}
    try:
        answer: dict[str, Any] = models.get(models.alias(request)).run.local(request.model_dump(mode="json"))
    except Exception:  # one request must not end a process that holds a warm model
        log.exception("a request could not be run")
        return {"ok": False, "error": PipelineError("internal").info.model_dump()}
    return answer


class _Models:
    """The stage's class with a model, as in a Modal container: one at a time, because two large ones may not fit."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._cls = getattr(importlib.import_module(f"gpu_jobs.{stage}"), STAGES[stage].class_name)
        self._alias: str | None = None
        self._warm: Any = None

    def alias(self, request: StageRequest) -> str:
        """The model a request asks for. Jobs choose a speech model only."""
        chosen = request.options.model if self._stage == "transcribe" else None
        return chosen or DEFAULT_MODELS[self._stage]

    def get(self, alias: str) -> Any:
        """The class with a model, loaded."""
        if alias != self._alias:
            self._warm = None
            self._warm, self._alias = self._cls(model=alias), alias
            self._warm.warm.local()
        return self._warm


if __name__ == "__main__":
    main()
