"""Small real recordings to be damaged, and where their parts begin."""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import av

from tests.media import FORMS, tone

DURATION_S = 0.4
NAMES = (
    *("wav", "wav_rf64", "aiff", "avi_pcm", "mp3", "adts", "flac", "amr", "ogg_opus", "ogg_vorbis"),
    *("m4a", "m4a_faststart", "mp4", "mp4_fragmented", "mov", "webm", "mkv", "wma"),
)
_BOXES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf", b"moof", b"traf", b"mvex"})
_LISTS = frozenset({b"RIFF", b"RF64", b"FORM", b"LIST"})
_MASTERS = frozenset(
    bytes.fromhex(name)
    for name in ["1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e1", "1f43b675", "a0", "114d9b74", "4dbb"]
)


@cache
def recording(form: str) -> bytes:
    """A recording in one of the forms; without the random ids that muxers write, so always the same."""
    make: Any = FORMS[form].make
    if hasattr(make, "options"):
        make = replace(make, options={**make.options, "fflags": "+bitexact"})
    content: bytes = make(tone(DURATION_S))
    return content


@cache
def parts(form: str) -> tuple[int, ...]:
    """Where atoms, pages, parts and headers begin and where their content does."""
    content = recording(form)
    return tuple(sorted({offset for offset in _walk(form)(content) if 0 <= offset <= len(content)}))


@cache
def frames(form: str) -> tuple[int, ...]:
    """Where packets begin, as a demuxer finds them."""
    with av.open(io.BytesIO(recording(form))) as container:
        return tuple(sorted({packet.pos for packet in container.demux() if packet.pos is not None and packet.size}))


def boxes(content: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of each box of an MP4, at every depth."""
    end = len(content) if end is None else end
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", content, start)
        length = length if length >= 8 else end - start
        yield name, start, length
        if name in _BOXES:
            yield from boxes(content, start + 8, start + length)
        start += length


def pages(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset, offset of the content, and end of each page of an Ogg file."""
    start = 0
    while content[start : start + 4] == b"OggS":
        segments = content[start + 26]
        body = start + 27 + segments
        end = body + sum(content[start + 27 : body])
        yield start, body, end
        start = end


def elements(content: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int, int]]:
    """Id, offset, offset of the size and of the content of each element of a Matroska file, at every depth."""
    end = len(content) if end is None else end
    while start < end and content[start]:
        size_at = start + 9 - content[start].bit_length()
        if size_at >= end or not content[size_at]:
            return
        width = 9 - content[size_at].bit_length()
        mask = (1 << 7 * width) - 1
        length = int.from_bytes(content[size_at : size_at + width], "big") & mask
        body = size_at + width
        yield content[start:size_at], start, size_at, body
        last = end if length == mask else min(end, body + length)
        if content[start:size_at] in _MASTERS:
            yield from elements(content, body, last)
        start = last


def _walk(form: str) -> Callable[[bytes], Iterator[int]]:
    family = FORMS[form].container.split(",")[0]
    walks: Mapping[str, Callable[[bytes], Iterator[int]]] = {
        "mov": lambda content: (at for _, start, _ in boxes(content) for at in (start, start + 8)),
        "ogg": lambda content: (at for page in pages(content) for at in (page[0], page[0] + 27, page[1])),
        "matroska": lambda content: (at for element in elements(content) for at in element[1:]),
        "flac": _flac_blocks,
        "asf": _asf_objects,
        "wav": lambda content: _riff(content, "<"),
        "avi": lambda content: _riff(content, "<"),
        "aiff": lambda content: _riff(content, ">"),
        "amr": lambda _: iter((0, 6)),
        "mp3": lambda content: iter((0, 10, content.index(b"\xff\xfb") if b"\xff\xfb" in content else 0)),
        "aac": lambda _: iter((0, 7)),
    }
    return walks[family]


def _riff(content: bytes, order: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    end = len(content) if end is None else end
    while start + 8 <= end:
        name, length = struct.unpack_from(f"{order}4sI", content, start)
        yield from (start, start + 4, start + 8)
        if name in _LISTS:
            yield from _riff(content, order, start + 12, min(end, start + 8 + length))
        start += 8 + length + length % 2


def _flac_blocks(content: bytes) -> Iterator[int]:
    start = 4
    while True:
        yield from (start, start + 4)
        is_last = content[start] & 0x80
        start += 4 + int.from_bytes(content[start + 1 : start + 4], "big")
        if is_last:
            yield start
            return


def _asf_objects(content: bytes) -> Iterator[int]:
    yield from (0, 16, 24, 30)
    start = 30
    header_end = int.from_bytes(content[16:24], "little")
    while start + 24 <= header_end:
        yield from (start, start + 16, start + 24)
        start += max(24, int.from_bytes(content[start + 16 : start + 24], "little"))
    yield from (header_end, header_end + 50)
