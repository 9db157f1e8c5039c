"""Valid FLAC files outside the subset that streams (RFC 9639, section 7), as archives have them."""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import repeat
from random import Random

import av
import numpy as np

from tests.hostile import crafted

DURATION_S = 3.0
_LOW_HZ = 16_000
_DEPTH_CODES = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}


def encoded(rate_hz: int, seed: int, *, layout: str = "mono", loudness: float = 0.02, **options: int) -> bytes:
    """Noise in 24 bits, by FFmpeg's encoder, with options that only its experimental mode takes."""
    samples = round(DURATION_S * rate_hz)
    channels = av.AudioLayout(layout).nb_channels
    noise = np.random.default_rng(seed).standard_normal((samples, channels)) * loudness
    sound = (noise.clip(-1, 0.999) * 2**31).astype(np.int32)
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        chosen = {name: str(value) for name, value in options.items()} | {"strict": "experimental"}
        stream = container.add_stream("flac", rate=rate_hz, layout=layout, options=chosen)
        stream.format = "s32"
        for start in range(0, samples, 8192):
            piece = np.ascontiguousarray(sound[start : start + 8192].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="s32", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def verbatim(
    bits: int,
    blocks: Iterator[int],
    seed: int,
    *,
    rate_hz: int = _LOW_HZ,
    is_variable: bool = False,
    tells_depth: bool = True,
    duration_s: float = DURATION_S,
) -> bytes:
    """Noise that is not compressed, and whose rate stands in the file's header alone.

    Args:
        bits: Of a sample.
        blocks: Samples of each frame, even numbers, as many as are needed.
        seed: Of the noise.
        rate_hz: Whether or not frames have a code for it.
        is_variable: Frames are counted by samples, and need not be of one length.
        tells_depth: Frames do, and not only the file's header.
        duration_s: Of the whole.
    """
    chance = Random(seed)

    def subframe(block: int) -> bytes:
        return b"\x02" + chance.randbytes(block * bits // 8)

    depth = _DEPTH_CODES[bits] if tells_depth else 0
    samples = round(duration_s * rate_hz)
    return _file(bits, depth, blocks, subframe, samples, rate_hz=rate_hz, is_variable=is_variable)


def partitioned() -> bytes:
    """Silence in 1024 partitions a frame: four times as many as may be streamed."""
    # No predictor; for each partition an escape, and that its samples take no bits.
    bits = "00" + "1010" + "111100000" * 1024
    content = int(bits.ljust(-len(bits) // 8 * -8, "0"), 2)
    subframe = b"\x10" + content.to_bytes(-(-len(bits) // 8), "big")
    samples = round(DURATION_S * _LOW_HZ)
    return _file(
        16, 4, repeat(16_384), lambda block: subframe if block == 16_384 else bytes(3), samples, rate_hz=_LOW_HZ
    )


def _file(
    bits: int,
    depth: int,
    blocks: Iterator[int],
    subframe: Callable[[int], bytes],
    samples: int,
    *,
    rate_hz: int,
    is_variable: bool = False,
) -> bytes:
    frames, longest, start = [], 0, 0
    while start < samples:
        block = min(next(blocks), samples - start)
        number = crafted.flac_number(start if is_variable else len(frames))
        head = bytes([0xFF, 0xF8 | is_variable, 0x70, depth << 1]) + number + struct.pack(">H", block - 1)
        frames.append(crafted.flac_sealed(head, subframe(block)))
        longest, start = max(longest, block), start + block
    fields = (rate_hz << 44 | bits - 1 << 36 | samples).to_bytes(8, "big")
    info = struct.pack(">HH", 16 if is_variable else longest, longest) + bytes(6) + fields + bytes(16)
    return b"fLaC" + crafted.flac_block(0, info, is_last=True) + b"".join(frames)


def _deep(bits: int, seed: int) -> bytes:
    return verbatim(bits, repeat(4096), seed)


def _varied(seed: int) -> Iterator[int]:
    chance = Random(seed)
    while True:
        yield 2 * chance.randrange(50, 20_000)


# By what is unusual: a file, from a seed.
FORMS: Mapping[str, Callable[[int], bytes]] = {
    **{f"{rate_hz} Hz": partial(encoded, rate_hz) for rate_hz in (96_000, 192_000, 352_800, 705_600)},
    **{f"blocks of {size}": partial(encoded, 44_100, frame_size=size) for size in (16, 1001, 16_385, 20_000, 32_768)},
    "blocks of 65535": partial(encoded, 44_100, loudness=0.0005, frame_size=65_535),
    "one block of 3 s": partial(encoded, 8000, frame_size=65_535),
    "eight channels": partial(encoded, 96_000, layout="7.1", loudness=0.002),
    "partition order 8": partial(encoded, 96_000, min_partition_order=8, max_partition_order=8),
    "partition order 10": lambda _: partitioned(),
    **{f"{bits} bits": partial(_deep, bits) for bits in _DEPTH_CODES},
    "blocks of many lengths": lambda seed: verbatim(16, _varied(seed), seed, is_variable=True),
    "a depth without a code": lambda seed: verbatim(20, repeat(4096), seed, tells_depth=False),
    "a rate without a code": lambda seed: verbatim(24, repeat(4096), seed, rate_hz=12_345),
    "a second and more a block": lambda seed: verbatim(16, repeat(20_000), seed),
}
