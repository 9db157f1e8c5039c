"""Noise, and real recordings that were cut, flipped and torn."""

from collections.abc import Iterator
from random import Random

from tests.hostile.forms import NAMES, frames, parts, recording
from tests.hostile.hostile import ACCEPTED, ANY, CORRUPT, EMPTY, UNSUPPORTED, Bait, Hostile
from tests.media import FORMS, mutations

_MAGICS = {
    "wav": b"RIFF\xff\xff\xff\x7fWAVEfmt ",
    "avi": b"RIFF\xff\xff\xff\x7fAVI LIST",
    "flac": b"fLaC\x00\x00\x00\x22",
    "ogg": b"OggS\x00\x02",
    "mp4": b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42",
    "moov": b"\x00\x00\xff\xffmoov\x00\x00\x00\x6cmvhd",
    "matroska": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm",
    "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "aiff": b"FORM\x00\x00\xff\xffAIFFCOMM",
    "amr": b"#!AMR\n",
    "id3": b"ID3\x04\x00\x00\x00\x00\x0f\x7f",
    "mp3": b"\xff\xfb\x90\x64",
    "adts": b"\xff\xf1\x50\x80",
}
_FRAMES_CUT = 8
# What these say of their own size is compared with what arrived; half of them is too little whatever is forgiven.
_SIZED = frozenset(name for name in NAMES if not FORMS[name].is_streamable)


def make(chance: Random, bait: Bait, scale: int) -> Iterator[Hostile]:
    """Every file of this module's kinds."""
    yield from _noise(chance, scale)
    yield from _cuts(chance, scale)
    yield from _flips(chance, scale)
    yield from _wounds(chance, scale)


def _noise(chance: Random, scale: int) -> Iterator[Hostile]:
    yield Hostile("empty", "0 bytes", b"", frozenset({EMPTY}))
    sizes = [1, 2, 3, 4, 7, 8, 11, 12, 13, 27, 28, 44, 100, 4095, 4096, 4097, 65_536, 131_072, 131_073, 500_000]
    sizes += [round(2 ** chance.uniform(0, 17)) for _ in range(60 * scale)]
    for index, size in enumerate(sizes):
        # A byte order of chance may look like the start of some frame.
        yield Hostile("noise", f"{index} {size} bytes", chance.randbytes(size), frozenset({UNSUPPORTED, CORRUPT}))
    for value in (0x00, 0x20, 0x55, 0xAA, 0xFF):
        yield Hostile("noise", f"all {value:#x}", bytes([value]) * 60_000, frozenset({UNSUPPORTED, CORRUPT}))
    for name, magic in _MAGICS.items():
        for index in range(4 * scale):
            content = magic + chance.randbytes(chance.choice((8, 60, 900, 30_000)))
            yield Hostile("noise after a signature", f"{name} {index}", content)


def _cuts(chance: Random, scale: int) -> Iterator[Hostile]:
    for form in NAMES:
        content, within = recording(form), frames(form)
        if len(within) > _FRAMES_CUT * scale:
            within = tuple(sorted(chance.sample(within, _FRAMES_CUT * scale)))
        aside = {at + by for at in parts(form) for by in ((-1, 1) if scale > 1 else (chance.choice((-1, 1)),))}
        for offset in sorted({*parts(form), *within, *aside}):
            if 0 < offset < len(content):
                may = ANY - {ACCEPTED} if form in _SIZED and offset < len(content) // 2 else ANY
                yield Hostile("cut", f"{form} at {offset}", content[:offset], may)


def _flips(chance: Random, scale: int) -> Iterator[Hostile]:
    for form in NAMES:
        for index in range(8 * scale):
            content = bytearray(recording(form))
            # Headers decide more than sound does.
            reach = min(len(content), 600) if index % 4 else len(content)
            for _ in range(chance.choice((1, 1, 2, 8, 64))):
                content[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            yield Hostile("bits flipped", f"{form} {index}", bytes(content))


def _wounds(chance: Random, scale: int) -> Iterator[Hostile]:
    for form in NAMES:
        for index, content in enumerate(mutations(recording(form), 5 * scale, seed=chance.randrange(2**32))):
            # What was cut before its first byte is nothing.
            yield Hostile("torn", f"{form} {index}", content, ANY if content else frozenset({EMPTY}))
