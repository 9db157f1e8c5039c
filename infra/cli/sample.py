"""Prints the path of a recording of two people that comes with pyannote.audio (MIT), for a first run."""

import sys
from importlib.util import find_spec
from pathlib import Path


def sample_path() -> Path:
    """The recording: 30 s of a telephone conversation.

    Raises:
        FileNotFoundError: pyannote.audio is not installed.
    """
    # Only the outer package is imported by this; pyannote.audio itself takes seconds to import.
    outer = find_spec("pyannote")
    for folder in outer.submodule_search_locations or () if outer else ():
        path = Path(folder) / "audio" / "sample" / "sample.wav"
        if path.exists():
            return path
    raise FileNotFoundError("pyannote.audio, which has the sample, is not installed")


if __name__ == "__main__":
    sys.stdout.write(f"{sample_path()}\n")
