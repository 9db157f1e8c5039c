"""Recordings whose words and turns are known."""

import importlib.util
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_jobs.audio import SAMPLE_RATE_HZ, AudioStream
from shared.media import MediaLimits
from shared.transcript import Turn

HERE = Path(__file__).parent
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Recording:
    """A file, and what is said in it.

    Attributes:
        path: The file.
        text: All words, by the time at which their line begins.
        lines: Speaker and words of each line, in that order.
        turns: Who speaks when.
    """

    path: Path
    text: str
    lines: tuple[tuple[str, str], ...]
    turns: tuple[Turn, ...]


def sample() -> Recording:
    """Pyannote's own sample: 30 s of two people on the phone who talk over each other."""
    spec = importlib.util.find_spec("pyannote")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for folder in folders:
        path = Path(folder) / "audio" / "sample" / "sample.wav"
        if path.is_file():
            return _recording(path)
    raise FileNotFoundError("pyannote-audio, which carries the sample, is not installed")


def dialogue() -> Recording:
    """66 s of two synthesised voices that take turns; see ``make_dialogue.py``."""
    return _recording(HERE / "dialogue.opus")


def long_recording(path: Path, *, min_s: float = 420.0) -> Recording:
    """Both recordings, in turn, until there is enough, written as WAV to a path of the caller's."""
    parts = (dialogue(), sample())
    sounds = [np.append(decoded(part.path), np.zeros(int(_PAUSE_S * SAMPLE_RATE_HZ), np.float32)) for part in parts]
    size = 0
    pieces: list[NDArray[np.float32]] = []
    lines: list[tuple[str, str]] = []
    turns: list[Turn] = []
    while size < min_s * SAMPLE_RATE_HZ:
        part, sound = parts[len(pieces) % 2], sounds[len(pieces) % 2]
        offset_s = size / SAMPLE_RATE_HZ
        turns += [
            Turn(speaker=turn.speaker, start_s=turn.start_s + offset_s, end_s=turn.end_s + offset_s)
            for turn in part.turns
        ]
        lines += part.lines
        pieces.append(sound)
        size += sound.size
    write_wav(path, np.concatenate(pieces))
    return Recording(path, " ".join(text for _, text in lines), tuple(lines), tuple(turns))


def silence(duration_s: float = 30.0) -> NDArray[np.float32]:
    """Digital silence."""
    return np.zeros(int(duration_s * SAMPLE_RATE_HZ), np.float32)


def noise(colour: str, duration_s: float = 30.0, *, level: float = 0.1) -> NDArray[np.float32]:
    """``white``, ``pink`` or ``brown`` noise: power that falls with the 0th, 1st or 2nd power of frequency.

    Args:
        colour: Which.
        duration_s: Length.
        level: Root mean square.
    """
    size = int(duration_s * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(size))
    slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[colour]
    frequencies = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    # Below 20 Hz nothing is heard, and brown noise would be little else.
    spectrum *= np.where(frequencies < 20.0, 0.0, 1.0 / np.maximum(frequencies, 20.0) ** slope)
    samples = np.fft.irfft(spectrum, size)
    scaled: NDArray[np.float32] = (samples / np.sqrt(np.mean(samples**2)) * level).astype(np.float32)
    return scaled


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    """Write 16 kHz mono samples in -1..1 as 16-bit WAV."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(SAMPLE_RATE_HZ)
        target.writeframes((np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes())
    return path


def decoded(path: Path) -> NDArray[np.float32]:
    """The whole recording, 16 kHz mono."""
    with AudioStream(str(path), MediaLimits()) as audio:
        return np.concatenate(list(audio.blocks()))


def _recording(path: Path) -> Recording:
    lines = sorted(_stm(path.with_suffix(".stm")))
    said = tuple((speaker, text) for _, speaker, text in lines)
    return Recording(path, " ".join(text for _, text in said), said, tuple(_rttm(path.with_suffix(".rttm"))))


def _stm(path: Path) -> Iterator[tuple[float, str, str]]:
    """Lines ``file channel speaker start end words…``."""
    for line in path.read_text().splitlines():
        _, _, speaker, start_s, _, text = line.split(maxsplit=5)
        yield float(start_s), speaker, text


def _rttm(path: Path) -> Iterator[Turn]:
    """Lines ``SPEAKER file channel start duration <NA> <NA> speaker …``."""
    for line in path.read_text().splitlines():
        _, _, _, start_s, duration_s, _, _, speaker, *_ = line.split()
        yield Turn(speaker=speaker, start_s=float(start_s), end_s=float(start_s) + float(duration_s))
