"""Lets torchaudio be imported beside a CPU build of torch.

The registry's torchaudio wheel is built for CUDA, and its native extension does not load beside a CPU torch. What is
needed of it here (filter banks, resampling) is plain torch and does not use the extension, so a stand-in takes its
place.
"""

import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn


def install() -> None:
    """Put the stand-in where torchaudio looks for its extension; beside a CUDA build of torch, do nothing."""
    import torch

    if torch.version.cuda is not None or "torchaudio" in sys.modules:
        return
    extension: Any = types.ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
    extension._IS_ALIGN_AVAILABLE = False
    extension._check_cuda_version = lambda: None
    extension.fail_if_no_align = _fail_if_called
    sys.modules["torchaudio._extension"] = extension


def _fail_if_called(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    def unavailable(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(f"{function.__name__} needs torchaudio's native extension")

    return unavailable
