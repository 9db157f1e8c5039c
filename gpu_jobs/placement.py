"""Where GPU stages are deployed, and how many containers may run: the stage table, and settings of whoever deploys.

| setting | default | meaning |
|---|---|---|
| ``EARWITNESS_GPU_<STAGE>`` | the stage table's | accelerator as Modal names it, ``H100`` or ``L4:2``, or ``none`` |
| ``EARWITNESS_MAX_CONTAINERS`` | 10 | containers of one stage and model at a time, 1 to 1000 |
| ``EARWITNESS_SCALEDOWN_WINDOW_S`` | 120 | how long an idle container keeps its model warm, 2 to 3600 |

They are read when an app's module is imported, and mean something only while it is being deployed.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import PipelineError
from shared.stages import Stage

# A container that does not come up within this will not; an attempt's own limit is hours.
STARTUP_TIMEOUT_S = 600
_GPU = re.compile(r"[A-Z][A-Z0-9-]*!?(:[1-8])?", re.IGNORECASE)


@dataclass(frozen=True)
class Placement:
    """What a stage's class is deployed with.

    Attributes:
        gpu: Accelerator, by Modal's name for it; ``None`` for none.
        cpu_cores: Reserved; it may use more.
        memory_mib: Reserved; it may use more.
        timeout_s: Limit of one attempt.
        max_containers: At a time, of each model.
        scaledown_window_s: How long an idle container is kept.
    """

    gpu: str | None
    cpu_cores: float
    memory_mib: int
    timeout_s: int
    max_containers: int
    scaledown_window_s: int


def placement(stage: Stage, environment: Mapping[str, str] = os.environ) -> Placement:
    """The placement of a stage.

    Raises:
        PipelineError: ``request.invalid`` for a setting that makes no sense, with its name.
    """
    return Placement(
        gpu=_gpu(environment, f"EARWITNESS_GPU_{stage.name.upper()}", stage.gpu),
        cpu_cores=stage.cpu_cores,
        memory_mib=stage.memory_mib,
        timeout_s=int(stage.timeout_s),
        max_containers=_number(environment, "EARWITNESS_MAX_CONTAINERS", default=10, least=1, most=1000),
        scaledown_window_s=_number(environment, "EARWITNESS_SCALEDOWN_WINDOW_S", default=120, least=2, most=3600),
    )


def _gpu(environment: Mapping[str, str], name: str, default: str | None) -> str | None:
    value = environment.get(name, "").strip()
    if not value:
        return default
    if value.lower() == "none":
        return None
    if not _GPU.fullmatch(value):
        raise PipelineError("request.invalid", f"{name}: '{value}' is no accelerator; for example L4, H100:2 or none.")
    return value


def _number(environment: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    value = environment.get(name, "").strip()
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise PipelineError("request.invalid", f"{name}: '{value}' is not a whole number from {least} to {most}.")
    return int(value)
