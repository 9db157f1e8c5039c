"""What the first bytes say a file is, and whether all of it is there.

Most containers write down their own size. A file that is shorter than it says was cut off on its way, which is
cheap to see and worth telling, since sending it again helps. Sizes that recorders leave open (zero, all ones)
claim nothing; formats that stream (MP3, ADTS, Ogg, AMR, fragmented MP4) have no end to miss.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from infra.probe_refusal import ARCHIVE, CUT_OFF, DOCUMENT, PICTURE, PLAYLIST, UNFINISHED, Refusal
from infra.probe_source import Source

HEAD_BYTES = 4096
_SCAN_BYTES = 64 * 1024  # A page of Ogg is no longer.
_MAX_PARTS = 256
# Writers miscount by a pad byte or a header; and a lost blink of sound is no reason to refuse the rest.
_SLACK_SHARE = 0.01
_MAX_SLACK_BYTES = 16 * 1024
# From here on a size means "unknown": all ones, and what sox and arecord write to a pipe.
_OPEN_SIZE = 0x7FFF_F000

_FOREIGN: tuple[tuple[bytes, tuple[str, str]], ...] = (
    (b"\x89PNG\r\n", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"II*\x00", PICTURE),
    (b"MM\x00*", PICTURE),
    (b"%PDF", DOCUMENT),
    (b"{\\rtf", DOCUMENT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", DOCUMENT),
    (b"PK\x03\x04", ARCHIVE),
    (b"PK\x05\x06", ARCHIVE),
    (b"\x1f\x8b", ARCHIVE),
    (b"Rar!", ARCHIVE),
    (b"7z\xbc\xaf", ARCHIVE),
    (b"#EXTM3U", PLAYLIST),
    (b"\xef\xbb\xbf#EXTM3U", PLAYLIST),
    (b"[playlist]", PLAYLIST),
)
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_CLUSTER = b"\x1f\x43\xb6\x75"
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
_MOV_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"})
# High-efficiency pictures are boxes like a film, and FFmpeg opens them as one.
_PICTURE_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"jxl "})


def identify(head: bytes) -> str:
    """The family of a recording by its first bytes: a key of :data:`CHECKS`, another known one, or ``""``.

    Raises:
        Refusal: The bytes are known to be something else.
    """
    for signature, reason in _FOREIGN:
        if head.startswith(signature):
            raise Refusal(*reason)
    if (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS):
        raise Refusal(*PICTURE)
    if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return "wav"
    if head[4:8] in _MOV_BOXES:
        return "mov"
    pairs = {
        b"fLaC": "flac",
        b"OggS": "ogg",
        b"#!AMR": "amr",
        b"ID3": "mp3",
        _ASF: "asf",
        _MATROSKA: "matroska",
    }
    found = next((family for signature, family in pairs.items() if head.startswith(signature)), "")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found = "aiff"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        found = "avi"
    return found


def frame_format(head: bytes) -> str | None:
    """FFmpeg's name of the format whose frames begin here, if a frame does.

    Twelve bits prove little, but FFmpeg itself wants more frames than a very short clip has.
    """
    if len(head) < 2 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if head[1] & 0xE6 == 0xE2 else None


def check_whole(source: Source, family: str) -> bool:
    """Compare the size a file declares with the size it has.

    Args:
        source: The file.
        family: From :func:`identify`.

    Returns:
        Whether the file streams: it may end anywhere, and its header cannot know how long it is.

    Raises:
        Refusal: ``media.corrupt``, its end is missing.
    """
    check = CHECKS.get(family)
    return check(source) if check else False


def has_content(source: Source, family: str) -> bool:
    """Whether an Ogg or Matroska file has anything behind its headers, readable or not."""
    if family == "matroska":
        return _MATROSKA_CLUSTER in source.read_at(0, _SCAN_BYTES)
    if family == "ogg":
        tail = source.read_at(max(0, source.size - _SCAN_BYTES), _SCAN_BYTES)
        # The last page tells how many samples came before its end.
        position = tail[tail.rfind(b"OggS") :][6:14]
        return int.from_bytes(position, "little", signed=True) > 0
    return True


def _check_end(declared_end: int, size: int) -> None:
    slack = min(_MAX_SLACK_BYTES, int(declared_end * _SLACK_SHARE))
    if declared_end > size + slack:
        raise Refusal(*CUT_OFF)


def _parts(source: Source, start: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, content offset and declared length of each part of a RIFF or IFF file."""
    position = start
    for _ in range(_MAX_PARTS):
        header = source.read_at(position, 8)
        if len(header) < 8:
            return
        name, length = struct.unpack(f"{order}4sI", header)
        yield name, position + 8, length
        position += 8 + length + length % 2


def _check_wav(source: Source) -> bool:
    magic = source.read_at(0, 4)
    long_length = 0
    for name, offset, declared in _parts(source, 12, ">" if magic == b"RIFX" else "<"):
        if name == b"ds64":
            long_length = struct.unpack("<8xQ", source.read_at(offset, 16).ljust(16, b"\0"))[0]
        if name == b"data":
            length = long_length if magic in (b"RF64", b"BW64") and declared == 0xFFFF_FFFF else declared
            if long_length or length < _OPEN_SIZE or offset + length <= source.size:
                _check_end(offset + length, source.size)
            return False
        if offset + declared > source.size:
            raise Refusal(*CUT_OFF)
    return False


def _check_aiff(source: Source) -> bool:
    for name, offset, length in _parts(source, 12, ">"):
        if name == b"SSND" and length < _OPEN_SIZE:
            _check_end(offset + length, source.size)
    return False


def _check_avi(source: Source) -> bool:
    (length,) = struct.unpack("<4xI", source.read_at(0, 8).ljust(8, b"\0"))
    if length < _OPEN_SIZE:
        _check_end(8 + length, source.size)
    return False


def _check_matroska(source: Source) -> bool:
    _, header_length, header_end = _element(source, 0)
    segment, length, offset = _element(source, header_end + (header_length or 0))
    if segment == _MATROSKA_SEGMENT and length is not None:
        _check_end(offset + length, source.size)
    return segment == _MATROSKA_SEGMENT and length is None


def _element(source: Source, position: int) -> tuple[bytes, int | None, int]:
    """Id, length (``None``: unknown) and content offset of an EBML element."""
    header = source.read_at(position, 12)
    if len(header) < 6:
        raise Refusal(*CUT_OFF)
    id_width = 9 - header[0].bit_length()
    width = 9 - header[id_width].bit_length() if id_width < 5 else 9
    if width > 8:
        return b"", None, position
    bits = 7 * width
    length = int.from_bytes(header[id_width : id_width + width], "big") & ((1 << bits) - 1)
    unknown = length == (1 << bits) - 1
    return header[:id_width], None if unknown else length, position + id_width + width


def _check_asf(source: Source) -> bool:
    position = 30
    for _ in range(_MAX_PARTS):
        header = source.read_at(position, 104)
        if len(header) < 24:
            break
        name, length = struct.unpack_from("<16sQ", header)
        if name == _ASF_FILE_PROPERTIES and len(header) >= 92:
            (size,) = struct.unpack_from("<Q", header, 40)
            is_broadcast = header[88] & 1
            if not is_broadcast:
                _check_end(size, source.size)
            return bool(is_broadcast)
        position += max(24, length)
    return False


def _check_mov(source: Source) -> bool:
    """Walk the outermost boxes: film data that is cut, or no index at all."""
    position, has_index = 0, False
    for _ in range(_MAX_PARTS):
        header = source.read_at(position, 16)
        if len(header) < 8:
            break
        length, name = struct.unpack_from(">I4s", header)
        if name == b"moof":
            return True
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack_from(">Q", header, 8)
        has_index = has_index or name == b"moov"
        if length == 0 and name == b"mdat":
            break  # To the end of the file.
        if length < 8:
            break  # Padding, or damage that FFmpeg judges.
        position += length
        if position > source.size and name in (b"mdat", b"moov"):
            _check_end(position, source.size)
    if not has_index:
        raise Refusal(*UNFINISHED)
    return False


CHECKS: Mapping[str, Callable[[Source], bool]] = MappingProxyType(
    {
        "wav": _check_wav,
        "aiff": _check_aiff,
        "avi": _check_avi,
        "matroska": _check_matroska,
        "asf": _check_asf,
        "mov": _check_mov,
    }
)
