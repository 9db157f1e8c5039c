"""Whether the end of a FLAC file is there, as RFC 9639 writes frames; a second opinion beside FFmpeg's.

FFmpeg tells frames from noise by several headers in a row, so it finds no end where frames are longer or shorter than
most encoders make them: blocks of 32,768 samples and of 16 are as valid as those of 4096. One whole frame, with
the number that belongs at the end, proves as much.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import av
import av.error
from av.audio.codeccontext import AudioCodecContext

from infra.probe_source import Source

_INFO_OFFSET: Final = 8
_INFO_BYTES: Final = 34
_HEADER_BYTES: Final = 16
_SYNC: Final = re.compile(rb"\xff[\xf8\xf9]")
# What other programs write after the last frame: ID3v1 and APE tags, padding.
_MAX_JUNK_BYTES: Final = 64 * 1024
# In sound, a header of chance is rare: one in half a million bytes. More of them were put there.
_MAX_SYNCS: Final = 4096
_MAX_DECODED: Final = 8
# FFmpeg gives up where frames are longer than that on average.
_MAX_PARSED_BYTES: Final = 20 * 8192
_NO_RATE, _NO_DEPTH, _MAX_CHANNEL_CODE = 15, 3, 10


class _Info(NamedTuple):
    """What the header says of all frames."""

    max_block: int
    rate_hz: int
    longest_frame_bytes: int
    extradata: bytes


class _Frame(NamedTuple):
    """A frame that its header says begins here."""

    offset: int
    end_sample: int


def ends_whole(source: Source, needed_s: float) -> bool:
    """Whether the last whole frame of a FLAC file reaches a time.

    Args:
        source: The file.
        needed_s: From the start of the recording.

    Raises:
        Refusal: The bytes could not be had.
    """
    info = _info(source)
    if info is None:
        return False
    length = info.longest_frame_bytes + _MAX_JUNK_BYTES
    tail = source.read_at(max(0, source.size - length), length)
    decoded = 0
    for frame in _last_frames(tail, info):
        if frame.end_sample < needed_s * info.rate_hz:
            continue
        if _is_whole(tail[frame.offset :], info):
            return True
        decoded += 1
        if decoded == _MAX_DECODED:
            break
    return False


def has_oversized_frames(source: Source, declared_s: float) -> bool:
    """Whether a file in which FFmpeg finds no sound has sound without fault, in frames that are too long for it.

    Args:
        source: The file.
        declared_s: How long it says it is; 0 where it says nothing.

    Raises:
        Refusal: The bytes could not be had.
    """
    info = _info(source)
    return info is not None and info.longest_frame_bytes > _MAX_PARSED_BYTES and ends_whole(source, declared_s)


def _info(source: Source) -> _Info | None:
    extradata = source.read_at(_INFO_OFFSET, _INFO_BYTES)
    if len(extradata) < _INFO_BYTES:
        return None
    max_block = int.from_bytes(extradata[2:4], "big")
    fields = int.from_bytes(extradata[10:18], "big")
    rate_hz, channels, bits = fields >> 44, (fields >> 41 & 7) + 1, (fields >> 36 & 31) + 1
    if not max_block or not rate_hz:
        return None
    # Not compressed at all, with a bit more for the difference of two channels.
    longest_frame_bytes = max_block * channels * (bits + 1) // 8 + 64
    return _Info(max_block, rate_hz, longest_frame_bytes, extradata)


def _last_frames(tail: bytes, info: _Info) -> Iterator[_Frame]:
    """Frames that may begin in a tail, the last first."""
    offsets = [match.start() for match in _SYNC.finditer(tail)]
    for offset in offsets[: -_MAX_SYNCS - 1 : -1]:
        end_sample = _end_sample(tail[offset : offset + _HEADER_BYTES].ljust(_HEADER_BYTES, b"\0"), info)
        if end_sample is not None:
            yield _Frame(offset, end_sample)


def _end_sample(header: bytes, info: _Info) -> int | None:
    """Where a frame with this header ends; ``None`` where it is none."""
    block_code, rate_code = header[2] >> 4, header[2] & 15
    channel_code, depth_code = header[3] >> 4, header[3] >> 1 & 7
    if not block_code or rate_code == _NO_RATE or channel_code > _MAX_CHANNEL_CODE or depth_code == _NO_DEPTH:
        return None
    # As in UTF-8, the ones that lead the first byte count its bytes.
    ones = 8 - (header[4] ^ 0xFF).bit_length()
    width = max(1, ones)
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    at = 4 + width
    block_width = {6: 1, 7: 2}.get(block_code, 0)
    block = _block(block_code, int.from_bytes(header[at : at + block_width], "big"))
    at += block_width + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if ones in (1, 8) or _crc8(header[:at]) != header[at]:
        return None
    is_counted_in_samples = header[1] & 1
    return (number if is_counted_in_samples else number * info.max_block) + block


def _block(code: int, own: int) -> int:
    """Samples of a frame by the code in its header, or by a number of its own."""
    if code in (6, 7):
        return own + 1
    if code == 1:
        return 192
    return 576 << code - 2 if code <= 5 else 256 << code - 8


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value


def _is_whole(content: bytes, info: _Info) -> bool:
    """Whether a frame at the start of these bytes can be decoded, whatever follows it."""
    codec = AudioCodecContext.create("flac", "r")
    codec.extradata = info.extradata
    codec.options = {"err_detect": "crccheck+explode"}  # Zeros, too, are samples where nothing is compressed.
    try:
        return any(frame.samples for frame in codec.decode(av.Packet(content)))
    except av.error.FFmpegError:
        return False
