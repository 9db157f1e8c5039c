"""Little that becomes much: silence for days, and metadata without end."""

import struct
import zlib
from collections.abc import Iterator
from random import Random

from tests.hostile import crafted
from tests.hostile.forms import boxes, recording
from tests.hostile.hostile import ACCEPTED, ANY, CORRUPT, TOO_LONG, ZERO_LENGTH, Bait, Hostile

_HOUR_S = 3600
_MIB = 1 << 20


def make(chance: Random, bait: Bait, scale: int) -> Iterator[Hostile]:
    """Every file of this module's kinds."""
    yield from _silence(scale)
    yield from _tags(chance, scale)
    yield from _inflated(scale)


def _silence(scale: int) -> Iterator[Hostile]:
    for hours in (1, 11):
        largest = hours * _HOUR_S * 8000 // 65_535 + 1
        yield Hostile("silence", f"flac {hours} h, untold", crafted.flac(8000, largest), frozenset({ACCEPTED}))
        usual = hours * _HOUR_S * 8000 // 4096 + 1
        for name, samples, told in (
            ("told", usual * 4096, ACCEPTED if hours < 10 else TOO_LONG),
            # Sound is where the end is looked for: only decoding finds the rest.
            ("told as 4 s", 32_768, ACCEPTED),
        ):
            content = crafted.flac(8000, usual, samples=samples, block=4096)
            yield Hostile("silence", f"flac {hours} h, {name}", content, frozenset({told}))
    for pages in (1, 120, 1200 * scale):
        told = frozenset({TOO_LONG if pages >= 1200 else ACCEPTED})
        yield Hostile("silence", f"opus {pages} pages, told", crafted.ogg_opus(pages), told)
        yield Hostile("silence", f"opus {pages} pages, told as nothing", crafted.ogg_opus(pages, granules=1))
    for frames in (1, 1000, 100_000):
        yield Hostile("silence", f"amr {frames} empty frames", b"#!AMR\n" + b"\x7c" * frames)
    for rate_hz, code in ((8000, 1), (8000, 6), (8000, 7), (8000, 0x11)):
        content = bytes(_MIB)
        claim = bytearray(crafted.wav(rate_hz, 1, content, bits=8, code=code))
        yield Hostile("silence", f"wav {code:#x}", bytes(claim))
        struct.pack_into("<I", claim, claim.index(b"data") + 4, 0x7FFF_0000)
        yield Hostile("silence", f"wav {code:#x} of which most is missing", bytes(claim), frozenset({CORRUPT}))
    stts = recording("m4a_faststart")
    at = next(start for name, start, _ in boxes(stts) if name == b"stts")
    for delta in (48_000_000, 2**31 - 1):
        lied = stts[: at + 20] + struct.pack(">I", delta) + stts[at + 24 :]
        yield Hostile("silence", f"m4a of samples of {delta}", lied)


def _tags(chance: Random, scale: int) -> Iterator[Hostile]:
    noise = chance.randbytes(2 * _MIB)
    mp3, flac, m4a, wav = (recording(form) for form in ("mp3", "flac", "m4a", "wav"))
    for count in (100, 4000 * scale):
        names = [b"k%d=%d" % (index, index) for index in range(count)]
        comments = struct.pack("<I", count) + b"".join(struct.pack("<I", len(name)) + name for name in names)
        vorbis = crafted.flac_block(4, struct.pack("<I", 0) + comments)
        yield Hostile("metadata", f"flac {count} comments", crafted.flac(16_000, 3, blocks=vorbis + _padding()))
        yield Hostile("metadata", f"opus {count} comments", crafted.ogg_opus(1, comments=comments))
        frames = b"".join(crafted.id3_frame(b"TXXX", b"\x03" + name.replace(b"=", b"\0")) for name in names)
        yield Hostile("metadata", f"id3 {count} texts", crafted.id3(frames) + mp3)
        pictures = crafted.id3_frame(b"APIC", b"\0image/png\0\x03\0" + b"\x89PNG\r\n\x1a\n" + bytes(40))
        yield Hostile("metadata", f"id3 {count} pictures", crafted.id3(pictures * (count // 10)) + mp3)
        chapters = b"".join(crafted.id3_frame(b"CHAP", name + b"\0" + bytes(16)) for name in names)
        yield Hostile("metadata", f"id3 {count} chapters", crafted.id3(chapters) + mp3)
        info = b"".join(b"I%03d" % (index % 1000) + struct.pack("<I", 2) + b"ab" for index in range(count))
        listed = b"LIST" + struct.pack("<I", 4 + len(info)) + b"INFO" + info
        yield Hostile("metadata", f"wav {count} texts", wav[:12] + listed + wav[12:])
        items = b"".join(
            crafted.box(b"\xa9%03d" % (index % 1000), crafted.box(b"data", struct.pack(">II", 1, 0) + b"ab"))
            for index in range(count)
        )
        udta = crafted.box(b"udta", crafted.box(b"meta", bytes(4) + crafted.box(b"ilst", items)))
        yield Hostile("metadata", f"m4a {count} items", m4a + crafted.box(b"moov", udta))
        tags = b"".join(
            crafted.element(
                "7373", crafted.element("67c8", crafted.element("45a3", name) + crafted.element("4487", b"x"))
            )
            for name in names
        )
        yield Hostile("metadata", f"mkv {count} tags", recording("mkv") + crafted.element("1254c367", tags))
    yield Hostile(
        "metadata", "id3 cover", crafted.id3(crafted.id3_frame(b"APIC", b"\0image/png\0\x03\0" + noise)) + mp3
    )
    cover = struct.pack(">II", 3, 9) + b"image/png" + bytes(20) + struct.pack(">I", len(noise)) + noise
    yield Hostile("metadata", "flac cover", flac[:4] + crafted.flac_block(6, cover) + flac[4:])
    for size in (2**24, 2**31 - 1, 2**32 - 1):
        lied = struct.pack(">II", 3, 9) + b"image/png" + bytes(20) + struct.pack(">I", size) + noise[:99]
        yield Hostile("metadata", f"flac cover of {size}", crafted.flac(16_000, 3, blocks=crafted.flac_block(6, lied)))
        count = struct.pack("<II", 0, size & 0xFFFF_FFFF)
        yield Hostile("metadata", f"flac {size} comments", crafted.flac(16_000, 3, blocks=crafted.flac_block(4, count)))
        yield Hostile("metadata", f"opus {size} comments", crafted.ogg_opus(1, comments=count[4:]))
    art = crafted.box(b"covr", crafted.box(b"data", struct.pack(">II", 14, 0) + noise))
    ilst = crafted.box(b"udta", crafted.box(b"meta", bytes(4) + crafted.box(b"ilst", art)))
    yield Hostile("metadata", "m4a cover", m4a + crafted.box(b"moov", ilst))
    file = (
        crafted.element("466e", b"../../../tmp/written")
        + crafted.element("4660", b"a/b")
        + crafted.element("465c", noise)
    )
    attachment = crafted.element("1941a469", crafted.element("61a7", file + crafted.element("46ae", b"\x01")))
    yield Hostile("metadata", "mkv attachment", recording("mkv") + attachment)


def _padding() -> bytes:
    return crafted.flac_block(1, bytes(16), is_last=True)


def _inflated(scale: int) -> Iterator[Hostile]:
    """Parts that are compressed: a thousand to one."""
    inflated = 64 * scale * _MIB
    packed = zlib.compress(bytes(inflated), 9)
    for name, flags in ((b"TXXX", 0x09), (b"APIC", 0x09), (b"GEOB", 0x09), (b"TIT2", 0x08)):
        frame = crafted.id3_frame(name, crafted.synchsafe(min(inflated, 2**28 - 1)) + packed, flags=flags)
        yield Hostile("inflated", f"id3 {name.decode()} {flags}", crafted.id3(frame) + recording("mp3"))
    for size in (100, inflated, 2**31 - 1, 2**32 - 1):
        moov = crafted.box(
            b"cmov",
            crafted.box(b"dcom", b"zlib") + crafted.box(b"cmvd", struct.pack(">I", size) + packed),
        )
        content = crafted.box(b"ftyp", b"qt  " + bytes(8)) + crafted.box(b"moov", moov)
        yield Hostile("inflated", f"mov header of {size}", content, ANY - {ACCEPTED})
    head = crafted.element("1a45dfa3", crafted.element("4282", b"matroska"))
    how = crafted.element("6d80", crafted.element("6240", crafted.element("5034", crafted.element("4254", b"\0"))))
    track = (
        crafted.element("d7", b"\x01") + crafted.element("83", b"\x02") + crafted.element("86", b"A_PCM/INT/LIT") + how
    )
    sound = crafted.element("e1", crafted.element("b5", struct.pack(">d", 16_000.0)) + crafted.element("6264", b"\x10"))
    block = crafted.element("a3", b"\x81\0\0\x80" + packed)
    cluster = crafted.element("1f43b675", crafted.element("e7", b"\0") + block * 3)
    segment = crafted.element("1654ae6b", crafted.element("ae", track + sound)) + cluster
    yield Hostile("inflated", "mkv packets", head + crafted.element("18538067", segment), ANY - {ZERO_LENGTH})
