"""What the prober cannot know, because it hears only the start and the end: the decoder has guards of its own."""

import struct
from pathlib import Path

import pytest

from tests.hostile import crafted
from tests.hostile.hostile import ACCEPTED, Hostile
from tests.hostile.passing import run
from tests.hostile.watching import Baited

# What a decoder needs for any recording, and what one frame of absurd sound needs once it is brought to 16 kHz.
USUAL_BYTES = 256 << 20


@pytest.mark.parametrize("rate_hz", [1, 2, 10, 100])
def test_a_rate_that_turns_absurd_midway_costs_no_memory(baited: Baited, tmp_path: Path, rate_hz: int) -> None:
    absurd = crafted.flac_frame(20, 65_535, 0, own=struct.pack(">H", rate_hz))
    file = Hostile(
        "rates", f"flac that turns to {rate_hz} Hz", crafted.flac(16_000, 20) + absurd, frozenset({ACCEPTED})
    )
    passed = run([file], tmp_path, baited)
    assert not any(passed.faults().values())
    # Of eighty seconds of sound, one packet is lost.
    assert passed.verdicts[0].decoded == ACCEPTED
    assert passed.decode_peak_bytes < USUAL_BYTES
