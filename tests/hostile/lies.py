"""Headers that lie: sizes, counts, durations, rates, channels and depths."""

import struct
from collections.abc import Iterator
from random import Random

from tests.hostile import crafted
from tests.hostile.forms import boxes, elements, pages, recording
from tests.hostile.hostile import ACCEPTED, ANY, CORRUPT, REFUSED, UNSUPPORTED, ZERO_LENGTH, Bait, Hostile

_SIZES = (0, 1, 7, 8, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_COUNTS = (0, 1, 1_000_000, 50_000_000, 0x7FFF_FFFF, 0xFFFF_FFFF)
# Where counts and durations stand in the boxes of a sound, after their names.
_FIELDS = {
    b"mvhd": (16, 20),
    b"tkhd": (24,),
    b"mdhd": (16, 20),
    b"elst": (8, 12, 16),
    b"stts": (8, 12, 16),
    b"stsc": (8, 12, 16),
    b"stsz": (8, 12),
    b"stco": (8, 12),
    b"stsd": (8, 12),
    b"dref": (8,),
}
_RATES = (0, 1, 2, 7, 100, 999, 768_001, 10_000_000, 2**31 - 1, 2**31, 2**32 - 1)
_CHANNELS = (0, 17, 24, 63, 64, 65, 255, 511, 512, 513, 4096, 65_535)
_FLOATS = {
    "zero": bytes(10),
    "negative": bytes.fromhex("c00dfa00000000000000"),
    "infinite": bytes.fromhex("7fff8000000000000000"),
    "not a number": bytes.fromhex("7fffc000000000000000"),
    "huge": bytes.fromhex("7ffeffffffffffffffff"),
    "tiny": bytes.fromhex("3ff08000000000000000"),
}
# What nobody records: refused by rate or channels, if FFmpeg does not find it damaged before.
_ABSURD = frozenset({UNSUPPORTED, CORRUPT, ZERO_LENGTH})


def make(chance: Random, bait: Bait, scale: int) -> Iterator[Hostile]:
    """Every file of this module's kinds."""
    yield from _box_lies()
    yield from _other_sizes()
    yield from _element_lies(chance, scale)
    yield from _lengths()
    yield from _rates()
    yield from _channels()
    yield from _depths(scale)


def _put(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _box_lies() -> Iterator[Hostile]:
    for form in ("m4a", "m4a_faststart"):
        content = recording(form)
        for name, start, _ in boxes(content):
            for size in _SIZES if form == "m4a_faststart" else (0, 0xFFFF_FFFF):
                title = f"{form} {name.decode()} at {start} of {size}"
                yield Hostile("box sizes", title, _put(content, start, struct.pack(">I", size)))
            if name in _FIELDS and form == "m4a_faststart":
                for at in _FIELDS[name]:
                    for count in _COUNTS:
                        title = f"{form} {name.decode()}+{at} = {count}"
                        yield Hostile("box counts", title, _put(content, start + at, struct.pack(">I", count)))
        for size in (0, 15, 2**32, 2**63 - 1, 2**63, 2**64 - 1):
            long = struct.pack(">I4sQ", 1, b"mdat", size)
            yield Hostile("box sizes", f"{form} of 64 bits {size}", content[:32] + long + content[32:])
    yield from _index_bombs()


def _index_bombs() -> Iterator[Hostile]:
    """An index of millions of samples in a few bytes: FFmpeg makes an entry of 24 bytes for each."""
    content = recording("m4a_faststart")
    sizes, spans = content.index(b"stsz") + 4, content.index(b"stsc") + 4
    for count in (1_000_000, 20_000_000, 50_000_000, 100_000_000, 0xFFFF_FFFF):
        lied = _put(content, sizes + 4, struct.pack(">II", 1, count))
        lied = _put(lied, spans + 12, struct.pack(">I", count))
        yield Hostile("index bombs", f"{count} samples", lied)


def _other_sizes() -> Iterator[Hostile]:
    for form, order, fields in (
        ("wav", "<", {"riff": 4, "fmt": 16, "data": -1}),
        ("aiff", ">", {"form": 4, "comm": 16}),
        ("avi_pcm", "<", {"riff": 4, "list": 16, "avih": 28}),
    ):
        content = recording(form)
        for name, at in fields.items():
            place = content.index(b"data") + 4 if at < 0 else at
            for size in _SIZES:
                yield Hostile(
                    "part sizes", f"{form} {name} {size}", _put(content, place, struct.pack(f"{order}I", size))
                )
    flac = recording("flac")
    for size in (0, 1, 33, 35, 2**24 - 1):
        yield Hostile("part sizes", f"flac block {size}", _put(flac, 5, size.to_bytes(3, "big")))
    for size in (0, 10, 2**20, 2**28 - 1):
        yield Hostile("part sizes", f"id3 {size}", crafted.id3(b"", length=size) + recording("mp3"))
    asf = recording("wma")
    for at in (16, 24, 46):
        for size in (0, 1, 23, 2**31, 2**63 - 1, 2**64 - 1):
            yield Hostile("part sizes", f"wma +{at} {size}", _put(asf, at, struct.pack("<Q", size)))


def _element_lies(chance: Random, scale: int) -> Iterator[Hostile]:
    for form in ("webm", "mkv"):
        content = recording(form)
        found = list(elements(content))
        for _, start, size_at, body in chance.sample(found, min(len(found), 25 * scale)):
            width = body - size_at
            marker = 1 << 7 * width
            for size in {0, 1, marker - 2, marker - 1}:
                lied = _put(content, size_at, (marker | size).to_bytes(width, "big"))
                yield Hostile("element sizes", f"{form} at {start} of {size:#x}", lied)


def _lengths() -> Iterator[Hostile]:
    """Durations that are not there."""
    for samples in (1, 2**31, 2**36 - 1):
        # One sample of many is the truth about none; which FFmpeg reads to its end.
        yield Hostile("lengths", f"flac {samples}", crafted.flac(16_000, 3, samples=samples))
    for granules in (1, 2**31, 2**53, 2**62):
        yield Hostile("lengths", f"opus {granules}", crafted.ogg_opus(2, granules=granules))
    for form in ("ogg_opus", "ogg_vorbis"):
        content = recording(form)
        start, _, end = list(pages(content))[-1]
        for granule in (-(2**63), -2, -1, 0, 1, 2**40, 2**63 - 1):
            page = _put(content[start:end], 6, struct.pack("<q", granule))
            yield Hostile("lengths", f"{form} {granule}", content[:start] + crafted.ogg_sealed(page) + content[end:])
    mp3 = recording("mp3")
    at = next(mp3.index(mark) for mark in (b"Xing", b"Info") if mark in mp3)
    for count in (0, 1, 2**31 - 1, 2**32 - 1):
        yield Hostile("lengths", f"mp3 frames {count}", _put(mp3, at + 8, struct.pack(">I", count)))
    webm = recording("webm")
    place = next(body for name, _, _, body in elements(webm) if name == b"\x44\x89")
    for value in (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan")):
        yield Hostile("lengths", f"webm {value}", _put(webm, place, struct.pack(">d", value)))


def _rates() -> Iterator[Hostile]:
    for rate_hz in _RATES:
        content = crafted.wav(rate_hz, 1, bytes(4000))
        yield Hostile("rates", f"wav {rate_hz}", content, _ABSURD)
        if rate_hz < 2**20:
            yield Hostile("rates", f"flac {rate_hz}", crafted.flac(rate_hz, 12), _ABSURD)
    for name, rate in _FLOATS.items():
        yield Hostile("rates", f"aiff {name}", crafted.aiff(rate, 1, bytes(4000)), _ABSURD)
    webm = recording("mkv")
    place = next(body for name, _, _, body in elements(webm) if name == b"\xb5")
    for value in (0.0, -1.0, 1.0, 1e9, 1e300, float("inf"), float("nan")):
        # What the sound itself says counts as well.
        yield Hostile("rates", f"mkv {value}", _put(webm, place, struct.pack(">d", value)))


def _channels() -> Iterator[Hostile]:
    for count in _CHANNELS:
        yield Hostile("channels", f"wav {count}", crafted.wav(16_000, count, bytes(count * 2 * 100)), _ABSURD)
    for count in (0, 3, 255):
        yield Hostile("channels", f"opus {count}", crafted.ogg_opus(2, channels=count), REFUSED)
    for count in (0, 17, 255, 65_535):
        rate = bytes.fromhex("400cfa00000000000000")
        yield Hostile("channels", f"aiff {count}", crafted.aiff(rate, count, bytes(60_000)), _ABSURD)
    for bits in (0, 1, 7, 8, 33, 64, 65_535):
        yield Hostile("channels", f"wav of {bits} bits", crafted.wav(16_000, 1, bytes(4000), bits=bits))
    for code in (0, 2, 6, 0x11, 0x31, 0x50, 0x55, 0xFF, 0x161, 0xFFFE, 0xFFFF):
        yield Hostile("channels", f"wav of codec {code:#x}", crafted.wav(16_000, 1, bytes(4000), code=code))


def _depths(scale: int) -> Iterator[Hostile]:
    for depth in (10, 100, 3000 * scale):
        for name in (b"moov", b"udta", b"meta", b"moof"):
            inner = bytes(4) if name == b"meta" else b""
            tower = crafted.nested(lambda content, name=name, inner=inner: crafted.box(name, inner + content), depth)
            yield Hostile("depths", f"{name.decode()} {depth}", crafted.box(b"ftyp", b"M4A ") + tower, ANY - {ACCEPTED})
        riff = crafted.nested(lambda content: b"LIST" + struct.pack("<I", 4 + len(content)) + b"INFO" + content, depth)
        yield Hostile("depths", f"riff {depth}", b"RIFF" + struct.pack("<I", 4 + len(riff)) + b"AVI " + riff)
        tags = crafted.nested(lambda content: crafted.element("67c8", content), depth)
        mkv = recording("mkv")
        yield Hostile("depths", f"tags {depth}", mkv + crafted.element("1254c367", crafted.element("7373", tags)))
        chapters = crafted.nested(
            lambda content: crafted.id3_frame(b"CHAP", b"a\0" + bytes(16) + content), min(depth, 300)
        )
        yield Hostile("depths", f"chapters {depth}", crafted.id3(chapters) + recording("mp3"))
