"""Decoding as a stream, and windows that hold every sample once."""

import io
import tracemalloc
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_jobs.audio import SAMPLE_RATE_HZ, TRUNCATED, AudioStream, quietest, windows
from shared.errors import PipelineError
from shared.media import MediaLimits
from tests.media import FORMS, Form
from tests.recordings import dialogue, silence, write_wav


def tone(duration_s: float, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(container: str, codec: str, duration_s: float, *, rate_hz: int = 44_100, layout: str = "stereo") -> bytes:
    buffer = io.BytesIO()
    channels = 2 if layout == "stereo" else 1
    with av.open(buffer, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate_hz, layout=layout)
        samples = np.repeat(tone(duration_s, rate_hz)[None], channels, axis=0)
        for first in range(0, samples.shape[1], 4096):
            piece = np.ascontiguousarray(samples[:, first : first + 4096])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, first
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def read(content: bytes, limits: MediaLimits | None = None) -> tuple[np.ndarray, AudioStream]:
    with AudioStream(io.BytesIO(content), limits or MediaLimits()) as audio:
        samples = np.concatenate(list(audio.blocks()))
        assert audio.notices in ((), (TRUNCATED,))
        assert audio.estimate_s == audio.decoded_s == samples.size / SAMPLE_RATE_HZ
    return samples, audio


@pytest.mark.parametrize(
    "form", [form for form in FORMS.values() if not form.is_silent], ids=lambda form: form.extension
)
def test_every_form_becomes_16_khz_mono(form: Form) -> None:
    samples, audio = read(form.make(tone(3.0)))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.size == pytest.approx(3 * SAMPLE_RATE_HZ, abs=0.15 * SAMPLE_RATE_HZ)
    middle = samples[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(440, abs=1)
    assert not audio.is_truncated


def test_blocks_are_what_one_call_decodes() -> None:
    samples, _ = read(dialogue().path.read_bytes())
    with av.open(dialogue().path) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        frames = [*container.decode(audio=0), None]
        whole = np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])
    np.testing.assert_array_equal(samples, whole)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", silence(1200.0))

    def peak_bytes(max_s: float) -> int:
        tracemalloc.start()
        try:
            with AudioStream(str(path), MediaLimits()) as audio:
                for _ in windows(audio.blocks(), max_s=max_s, search_s=5.0, find_cut=quietest):
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # 20 min are 77 MB; a window of 60 s is 3.8 MB, held at most four times over while it is cut.
    assert peak_bytes(60.0) < 20e6


def test_length_is_limited_as_decoded_whatever_the_header_says() -> None:
    content = encoded("wav", "pcm_s16le", 10.0)
    with pytest.raises(PipelineError) as caught:
        read(content, MediaLimits(max_duration_s=5.0))
    assert caught.value.code == "media.too_long"


def test_a_tail_that_was_cut_off_is_told(tmp_path: Path) -> None:
    content = encoded("wav", "pcm_s16le", 10.0)
    samples, audio = read(content[: len(content) // 2])
    assert samples.size == pytest.approx(5 * SAMPLE_RATE_HZ, abs=SAMPLE_RATE_HZ)
    # FFmpeg takes a WAV's length from what is there, so a cut is seen only in formats that count their samples.
    flac = encoded("flac", "flac", 10.0)
    samples, audio = read(flac[: len(flac) // 2])
    assert 2 * SAMPLE_RATE_HZ < samples.size < 8 * SAMPLE_RATE_HZ
    assert audio.notices == (TRUNCATED,)


def test_damage_in_the_middle_costs_only_itself() -> None:
    content = bytearray(encoded("mp3", "libmp3lame", 10.0))
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    samples, _ = read(bytes(content))
    assert samples.size > 9 * SAMPLE_RATE_HZ


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "media.corrupt"),
        (b"RIFF\x00\x00\x00\x00WAVE", "media.corrupt"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", None),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", None),
        (encoded("wav", "pcm_s16le", 2.0)[:60], "media.corrupt"),
        (encoded("wav", "pcm_s16le", 0.0), None),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes, code: str | None) -> None:
    with pytest.raises(PipelineError) as caught:
        read(content)
    assert caught.value.code == code or (code is None and caught.value.code.startswith("media."))


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    target = write_wav(tmp_path / "secret.wav", tone(3.0))
    playlist = tmp_path / "innocent.wav"
    playlist.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    with pytest.raises(PipelineError) as caught, AudioStream(str(playlist), MediaLimits()) as audio:
        list(audio.blocks())
    assert caught.value.code in ("media.unsupported", "media.corrupt")


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5 * SAMPLE_RATE_HZ), max_size=20),
    max_s=st.sampled_from([2.0, 5.0, 11.0]),
    search_s=st.sampled_from([0.5, 1.5]),
    place=st.floats(0.0, 1.0),
)
def test_windows_hold_every_sample_once(sizes: list[int], max_s: float, search_s: float, place: float) -> None:
    total = sum(sizes)
    signal = np.arange(total, dtype=np.float32)
    blocks = iter(np.split(signal, np.cumsum(sizes)[:-1])) if sizes else iter(())

    def find_cut(tail: np.ndarray) -> int:
        assert tail.size == int(search_s * SAMPLE_RATE_HZ)
        return max(1, round(place * tail.size))

    cut = list(windows(blocks, max_s=max_s, search_s=search_s, find_cut=find_cut))
    assert all(0 < window.duration_s <= max_s for window in cut)
    assert all(one.first_sample + one.samples.size == other.first_sample for one, other in pairwise(cut))
    joined = np.concatenate([window.samples for window in cut]) if cut else np.array([], np.float32)
    np.testing.assert_array_equal(joined, signal)


def test_the_quietest_place_is_found() -> None:
    signal = tone(10.0)
    signal[int(6.0 * SAMPLE_RATE_HZ) : int(6.5 * SAMPLE_RATE_HZ)] *= 0.001
    signal[int(3.0 * SAMPLE_RATE_HZ) : int(3.05 * SAMPLE_RATE_HZ)] = 0.0
    assert 6.0 < quietest(signal) / SAMPLE_RATE_HZ < 6.5


@pytest.mark.parametrize("size", [1, 2, 319, 320, 4800, 5000])
def test_a_place_is_found_in_short_audio(size: int) -> None:
    assert 0 < quietest(np.zeros(size, np.float32)) <= size
