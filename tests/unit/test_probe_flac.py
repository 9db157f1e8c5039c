"""FLAC as archives have it: what is whole is a recording, what is cut is refused, whatever the size of its frames."""

import io
from functools import cache
from itertools import repeat
from random import Random

import psutil
import pytest

from gpu_jobs.audio import AudioStream
from infra.probe import ContentProber
from shared.errors import PipelineError
from shared.media import MediaLimits, Probe
from tests.hostile.crafted import flac_number, flac_sealed
from tests.hostile.flacs import DURATION_S, FORMS, encoded, verbatim

SEED = 20
CUTS = 8


@cache
def made(form: str) -> bytes:
    return FORMS[form](SEED)


@pytest.fixture(scope="module")
def prober():
    prober = ContentProber(lambda ref: ref.name, probes_per_child=100_000)
    yield prober
    prober.close()


@pytest.fixture
def ask(prober, tmp_path):
    def ask(content: bytes) -> Probe:
        path = tmp_path / "media"
        path.write_bytes(content)
        return prober.probe_at(str(path))

    return ask


def refusal(ask, content: bytes) -> str:
    with pytest.raises(PipelineError) as caught:
        ask(content)
    return caught.value.code


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_is_accepted_with_its_duration_and_can_be_decoded(ask, form):
    probe = ask(made(form))
    assert (probe.container, probe.audio_codec) == ("flac", "flac")
    assert probe.duration_s == pytest.approx(DURATION_S, abs=1e-4)
    with AudioStream(io.BytesIO(made(form)), MediaLimits()) as audio:
        assert sum(block.size for block in audio.blocks()) == pytest.approx(DURATION_S * 16_000, abs=2)
        assert audio.notices == ()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_cut_is_refused(ask, form):
    content = made(form)
    chance = Random(f"{SEED} {form}")
    for _ in range(CUTS):
        # Up to half a second at the end is forgiven.
        kept = int(len(content) * chance.uniform(0.1, 0.8))
        assert refusal(ask, content[:kept]) == "media.corrupt", kept
        # As a resumed upload leaves it that lost its end and kept its length.
        assert refusal(ask, content[:kept] + bytes(len(content) - kept)) == "media.corrupt", kept


@pytest.mark.parametrize("duration_s", [0.1, 0.25, 0.6, 1.0, 1.9, 2.1])
def test_a_short_file_whose_frames_tell_no_rate_is_accepted(ask, duration_s):
    content = verbatim(16, repeat(4096), SEED, duration_s=duration_s)
    assert ask(content).duration_s == pytest.approx(duration_s)
    assert refusal(ask, content[: len(content) * 2 // 3]) == "media.corrupt"


def test_a_last_frame_of_seconds_is_whole_or_missing(ask):
    for form in ("one block of 3 s", "a second and more a block"):
        assert refusal(ask, made(form)[:-20]) == "media.corrupt"


def test_what_is_written_behind_the_last_frame_is_no_damage(ask):
    tag = b"TAG" + bytes(125)
    for form in ("blocks of 32768", "blocks of 65535", "352800 Hz"):
        assert ask(made(form) + tag).duration_s == pytest.approx(DURATION_S, abs=1e-4)


def test_frames_that_ffmpeg_cannot_take_apart_are_said_to_be_too_large(ask):
    content = encoded(96_000, SEED, layout="stereo", loudness=0.5, frame_size=65_535)
    assert refusal(ask, content) == "media.unsupported"
    assert refusal(ask, content[: len(content) // 2]) == "media.corrupt"


def test_headers_of_frames_without_end_take_no_time(prober, ask):
    """A megabyte of headers whose checksums are right, none of which begins a frame."""
    forged = flac_sealed(b"\xff\xf8\x10\x08" + flac_number(300_000), b"")[:-2] * 100_000
    content = made("blocks of 32768")
    ask(content)
    child = psutil.Process(prober.pid)
    before = child.cpu_times()
    assert refusal(ask, content[: len(content) // 2] + forged) == "media.corrupt"
    assert child.cpu_times().user - before.user < 1
