"""Files that no encoder would write, as RIFF, FLAC (RFC 9639), Ogg (RFC 3533) and EBML (RFC 8794) are specified."""

import struct
from collections.abc import Callable
from functools import cache
from itertools import accumulate


def wav(rate_hz: int, channels: int, content: bytes, *, bits: int = 16, code: int = 1) -> bytes:
    """A WAV file whose header says this, whatever its content."""
    width = channels * bits // 8
    header = struct.pack(
        "<HHIIHH", code, channels, rate_hz, rate_hz * width & 0xFFFF_FFFF, width & 0xFFFF, bits
    )  # fmt: skip
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def aiff(rate: bytes, channels: int, content: bytes) -> bytes:
    """An AIFF file whose sample rate is given as the ten bytes of an extended float."""
    frames = len(content) // max(1, 2 * channels)
    common = b"COMM" + struct.pack(">IHIH", 18, channels, frames, 16) + rate
    sound = b"SSND" + struct.pack(">III", 8 + len(content), 0, 0) + content
    return b"FORM" + struct.pack(">I", 4 + len(common) + len(sound)) + b"AIFF" + common + sound


def flac(rate_hz: int, frames: int, *, samples: int = 0, block: int = 65_535, blocks: bytes = b"") -> bytes:
    """Silence, in 14 bytes per 65,535 samples.

    Args:
        rate_hz: In the header, which the frames refer to.
        frames: How many there are.
        samples: How many there are said to be; 0 for unknown.
        block: Samples of a frame.
        blocks: Further metadata, before the frames.
    """
    fields = (rate_hz << 44 | 15 << 36 | samples).to_bytes(8, "big")
    info = struct.pack(">HH", block, block) + bytes(6) + fields + bytes(16)
    head = b"fLaC" + flac_block(0, info, is_last=not blocks) + blocks
    return head + b"".join(flac_frame(number, block, rate_hz) for number in range(frames))


def flac_block(kind: int, content: bytes, *, is_last: bool = False, length: int | None = None) -> bytes:
    """A metadata block, which may lie about its length."""
    said = len(content) if length is None else length
    return bytes([kind | 0x80 * is_last]) + said.to_bytes(3, "big") + content


@cache
def flac_frame(number: int, block: int, rate_hz: int, *, own: bytes = b"") -> bytes:
    """A mono frame of silence.

    Args:
        number: Its place.
        block: Its samples.
        rate_hz: Its rate; others than 8, 16 and 48 kHz are left to the file's header.
        own: A rate in two bytes that the frame has for itself.
    """
    rate = 13 if own else {8000: 4, 16_000: 5, 48_000: 10}.get(rate_hz, 0)
    head = b"\xff\xf8" + bytes([0x70 | rate, 0x08]) + flac_number(number) + struct.pack(">H", block - 1) + own
    return flac_sealed(head, bytes(3))


def flac_number(number: int) -> bytes:
    """The place of a frame, written as UTF-8 writes a character."""
    return chr(number).encode("utf-8", "surrogatepass")


def flac_sealed(head: bytes, body: bytes) -> bytes:
    """A frame with right checksums."""
    frame = head + bytes([_crc(head, 0x07, 8)]) + body
    return frame + struct.pack(">H", _crc(frame, 0x8005, 16))


def ogg_page(content: bytes, lacing: bytes, *, number: int, granule: int, flags: int = 0) -> bytes:
    """A page with a right checksum."""
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, 1, number, 0) + bytes([len(lacing)]) + lacing
    return ogg_sealed(head + content)


def ogg_sealed(page: bytes) -> bytes:
    """A page whose checksum is made right again."""
    bare = page[:22] + bytes(4) + page[26:]
    return bare[:22] + struct.pack("<I", _crc(bare, 0x04C1_1DB7, 32)) + bare[26:]


def ogg_opus(pages: int, *, granules: int | None = None, comments: bytes = b"\0\0\0\0", channels: int = 1) -> bytes:
    """Half a minute of silence a page, of 0.8 kB: packets of two bytes hold 48 empty frames each.

    Args:
        pages: How many.
        granules: What each adds to the position that pages tell, at 48 kHz; the truth if left out.
        comments: Count and comments.
        channels: In the header.
    """
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 0) + comments
    step = 255 * 5760 if granules is None else granules
    file = ogg_page(head, bytes([len(head)]), number=0, granule=0, flags=2)
    file += b"".join(_ogg_long(tags, number=1))
    # Configuration 3 has frames of 60 ms, of which a packet may hold two.
    return file + b"".join(
        ogg_page(b"\x1b\x02" * 255, b"\x02" * 255, number=1_000_000 + index, granule=min((index + 1) * step, 2**63 - 1))
        for index in range(pages)
    )


def _ogg_long(packet: bytes, number: int) -> list[bytes]:
    """One packet over as many pages as it needs."""
    pieces = [packet[at : at + 255 * 255] for at in range(0, len(packet) + 1, 255 * 255)]
    laces = [b"\xff" * (len(piece) // 255) + (b"" if len(piece) == 255 * 255 else bytes([len(piece) % 255]))
             for piece in pieces]  # fmt: skip
    return [
        ogg_page(piece, lace, number=number + index, granule=0, flags=index > 0)
        for index, (piece, lace) in enumerate(zip(pieces, laces, strict=True))
    ]


def element(name: str, content: bytes, *, length: int | None = None) -> bytes:
    """An element of Matroska, by its id in hexadecimal; it may lie about its length."""
    said = len(content) if length is None else length
    return bytes.fromhex(name) + (1 << 56 | said).to_bytes(8, "big") + content


def box(name: bytes, content: bytes, *, length: int | None = None) -> bytes:
    """A box of MP4, which may lie about its length."""
    return struct.pack(">I", 8 + len(content) if length is None else length) + name + content


def id3(frames: bytes, *, length: int | None = None) -> bytes:
    """An ID3v2.4 tag, which may lie about its length."""
    said = len(frames) if length is None else length
    return b"ID3\x04\x00\x00" + synchsafe(said) + frames


def id3_frame(name: bytes, content: bytes, *, flags: int = 0) -> bytes:
    """A frame of such a tag."""
    return name + synchsafe(len(content)) + struct.pack(">H", flags) + content


def synchsafe(value: int) -> bytes:
    """28 bits in four bytes, as ID3 writes lengths."""
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def nested(wrap: Callable[[bytes], bytes], depth: int, innermost: bytes = b"") -> bytes:
    """Something wrapped in itself."""
    return list(accumulate(range(depth), lambda inner, _: wrap(inner), initial=innermost))[-1]


@cache
def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    def entry(value: int) -> int:
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        return value

    return tuple(entry(value) for value in range(256))


def _crc(content: bytes, polynomial: int, bits: int) -> int:
    table, mask, value = _table(polynomial, bits), (1 << bits) - 1, 0
    for byte in content:
        value = (value << 8 & mask) ^ table[value >> (bits - 8) ^ byte]
    return value
