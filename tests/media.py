"""Files for tests, made on the spot: every accepted form of a recording, and every kind of file that is not one.

``encode(form, sound)`` gives the bytes of a form of :data:`FORMS`; ``REJECTS`` holds what must be refused, each
with its error code and a maker. ``sound`` is always mono float32 at 16 kHz (:data:`RATE_HZ`).

One file: a table of forms and of rejects, and what makes each row.
"""

import io
import random
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
Sound = NDArray[np.float32]
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
_KEY = "76a6c65c5ea762046bd749a2e632ccbb"


def tone(duration_s: float, *, frequency_hz: float = 440.0) -> Sound:
    """A tone whose loudness swells twice a second, so that no codec finds it trivial."""
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 2 * t)
    return (0.4 * swell * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


@dataclass(frozen=True)
class Form:
    """One accepted container and codec.

    Attributes:
        extension: For a file name, with its dot.
        content_type: What a phone would declare.
        container: FFmpeg's demuxer name, as a probe gives it.
        codec: FFmpeg's codec name, as a probe gives it.
        make: Sound to file.
        rate_hz: Of the stored stream.
        channels: Of the stored stream.
        has_video: Moving pictures are there too.
        says_duration: Whether the file tells how long it is.
        is_streamable: Cut anywhere, it is still a recording.
        is_silent: There is no encoder here; the frames hold no sound.
    """

    extension: str
    content_type: str
    container: str
    codec: str
    make: Callable[[Sound], bytes]
    rate_hz: int = RATE_HZ
    channels: int = 1
    has_video: bool = False
    says_duration: bool = True
    is_streamable: bool = False
    is_silent: bool = False


@dataclass(frozen=True)
class Reject:
    """A file that is not accepted, and the code that says why."""

    code: str
    make: Callable[[Sound], bytes]


@dataclass(frozen=True)
class _Mux:
    """How to write one form with PyAV."""

    format: str
    codec: str | None
    rate_hz: int = RATE_HZ
    layout: str = "mono"
    video: str | None = None
    cover: bool = False
    bit_rate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    codec_options: Mapping[str, str] = field(default_factory=dict)
    stream_out: bool = False

    def __call__(self, sound: Sound) -> bytes:
        if self.stream_out:
            pipe = _Pipe()
            self._write(pipe, sound)
            return pipe.getvalue()
        # A real file: the mov muxer opens it once more to move its index to the front.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "media"
            self._write(str(path), sound)
            return path.read_bytes()

    def _write(self, file: Any, sound: Sound) -> None:
        with av.open(file, "w", format=self.format, options=dict(self.options)) as output:
            picture = _add_video(output, self.video) if self.video else None
            stream = self._add_audio(output) if self.codec else None
            cover = _add_cover(output) if self.cover else None
            output.start_encoding()
            if cover:
                output.mux(cover)
            if picture:
                _write_video(output, picture, len(sound) / RATE_HZ)
            if stream:
                _write_audio(output, stream, sound)

    def _add_audio(self, output: Any) -> Any:
        stream = output.add_stream(self.codec, rate=self.rate_hz, options=dict(self.codec_options))
        stream.codec_context.layout = self.layout
        stream.codec_context.format = av.codec.Codec(self.codec, "w").audio_formats[0]
        stream.time_base = Fraction(1, self.rate_hz)
        if self.bit_rate:
            stream.bit_rate = self.bit_rate
        return stream


class _Pipe(io.BytesIO):
    """A file that cannot seek: what a recorder that streams writes to."""

    def seekable(self) -> bool:
        return False

    seek = None  # type: ignore[assignment]
    tell = None  # type: ignore[assignment]


def _write_audio(output: Any, stream: Any, sound: Sound) -> None:
    context = stream.codec_context
    resampler = av.AudioResampler(
        format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=context.frame_size or 1024
    )
    frames = []
    if len(sound):
        frame = av.AudioFrame.from_ndarray(sound[None, :], format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        frame.time_base = Fraction(1, RATE_HZ)
        frame.pts = 0
        frames = [*resampler.resample(frame), *resampler.resample(None)]
    for resampled in frames:
        output.mux(stream.encode(resampled))
    output.mux(stream.encode(None))


def _add_video(output: Any, codec: str) -> Any:
    stream = output.add_stream(codec, rate=10)
    stream.width, stream.height = (176, 144)
    stream.pix_fmt = "yuv420p"
    return stream


def _write_video(output: Any, stream: Any, duration_s: float) -> None:
    for index in range(max(1, round(duration_s * 10))):
        shade = np.full((144, 176, 3), index * 9 % 256, dtype=np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
    output.mux(stream.encode(None))


def _add_cover(output: Any) -> Any:
    stream = output.add_stream("png", rate=1)
    stream.width = stream.height = 8
    stream.pix_fmt = "rgb24"
    stream.disposition = av.stream.Disposition.attached_pic
    packet = av.Packet(png())
    packet.stream = stream
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    return packet


def png() -> bytes:
    """A picture of 8 by 8 pixels."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(8 * 25))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")


def jpeg() -> bytes:
    """A grey picture of 64 by 64 pixels."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = 64
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, dtype=np.uint8), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(grey), *encoder.encode(None)])


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("recording.wav", b"RIFF")
    return file.getvalue()


def _heic(_: Sound) -> bytes:
    return struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(2000)


def _live_wav(sound: Sound, size: int = 0xFFFF_FFFF) -> bytes:
    """What a recorder writes that never came to fill in its sizes."""
    content = bytearray(_Mux("wav", "pcm_s16le", options={"fflags": "+bitexact"})(sound))
    struct.pack_into("<I", content, 4, size)
    struct.pack_into("<I", content, content.index(b"data") + 4, size)
    return bytes(content)


def _tagged_mp3(sound: Sound) -> bytes:
    """An ID3 tag of a megabyte, as of a large cover, before the first frame."""
    mp3 = _Mux("mp3", "libmp3lame", options={"id3v2_version": "0"})(sound)
    size = 1_000_000
    return b"ID3\x04\x00\x00" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size) + mp3


def _mp3_after_junk(sound: Sound) -> bytes:
    mp3 = _Mux("mp3", "libmp3lame", options={"id3v2_version": "0", "write_xing": "0"})(sound)
    return b"junk before the first frame " * 8 + mp3


def _amr_wideband(sound: Sound) -> bytes:
    """Frames of the lowest rate with empty content: FFmpeg decodes AMR-WB but does not encode it."""
    return b"#!AMR-WB\n" + (b"\x04" + bytes(17)) * max(1, round(len(sound) / RATE_HZ * 50))


_X264 = "libx264"
_VARIABLE_RATE = {"flags": "+qscale", "global_quality": "500"}
FORMS: Mapping[str, Form] = {
    "wav": Form(".wav", "audio/wav", "wav", "pcm_s16le", _Mux("wav", "pcm_s16le")),
    "wav_float": Form(".wav", "audio/x-wav", "wav", "pcm_f32le", _Mux("wav", "pcm_f32le")),
    "wav_24_stereo": Form(
        ".wav", "audio/wav", "wav", "pcm_s24le", _Mux("wav", "pcm_s24le", 48_000, "stereo"), 48_000, 2
    ),
    "wav_mulaw": Form(".wav", "audio/wav", "wav", "pcm_mulaw", _Mux("wav", "pcm_mulaw", 8000), 8000),
    "wav_rf64": Form(".wav", "audio/wav", "wav", "pcm_s16le", _Mux("wav", "pcm_s16le", options={"rf64": "always"})),
    "wav_live": Form(".wav", "audio/wav", "wav", "pcm_s16le", _live_wav, is_streamable=True),
    "wav_live_zero": Form(
        ".wav", "audio/wav", "wav", "pcm_s16le", lambda sound: _live_wav(sound, 0), is_streamable=True
    ),
    "mp3": Form(".mp3", "audio/mpeg", "mp3", "mp3", _Mux("mp3", "libmp3lame"), is_streamable=True),
    "mp3_cover": Form(
        ".mp3", "audio/mpeg", "mp3", "mp3", _Mux("mp3", "libmp3lame", cover=True), is_streamable=True
    ),
    "mp3_tagged": Form(".mp3", "audio/mpeg", "mp3", "mp3", _tagged_mp3),
    "mp3_after_junk": Form(".mp3", "audio/mpeg", "mp3", "mp3", _mp3_after_junk, is_streamable=True),
    "mp3_vbr_untabled": Form(
        ".mp3",
        "audio/mpeg",
        "mp3",
        "mp3",
        _Mux("mp3", "libmp3lame", options={"write_xing": "0"}, codec_options=_VARIABLE_RATE),
        says_duration=False,
        is_streamable=True,
    ),
    "m4a": Form(".m4a", "audio/x-m4a", _MOV, "aac", _Mux("ipod", "aac", 44_100), 44_100),
    "m4a_faststart": Form(
        ".m4a", "audio/mp4", _MOV, "aac", _Mux("ipod", "aac", options={"movflags": "faststart"})
    ),
    "m4a_cover": Form(".m4a", "audio/mp4", _MOV, "aac", _Mux("mp4", "aac", cover=True)),
    "m4a_alac": Form(".m4a", "audio/mp4", _MOV, "alac", _Mux("ipod", "alac")),
    "adts": Form(
        ".aac", "audio/aac", "aac", "aac", _Mux("adts", "aac"), says_duration=False, is_streamable=True
    ),
    "ogg_opus": Form(".ogg", "audio/ogg", "ogg", "opus", _Mux("ogg", "libopus", 48_000), 48_000, is_streamable=True),
    "ogg_vorbis": Form(
        ".ogg",
        "audio/ogg",
        "ogg",
        "vorbis",
        _Mux("ogg", "vorbis", 44_100, "stereo", codec_options={"strict": "-2"}),
        44_100,
        2,
        is_streamable=True,
    ),
    "webm": Form(".webm", "audio/webm", "matroska,webm", "opus", _Mux("webm", "libopus", 48_000), 48_000),
    "webm_video": Form(
        ".webm",
        "video/webm",
        "matroska,webm",
        "opus",
        _Mux("webm", "libopus", 48_000, video="libvpx-vp9"),
        48_000,
        has_video=True,
    ),
    "webm_live": Form(
        ".webm",
        "audio/webm;codecs=opus",
        "matroska,webm",
        "opus",
        _Mux("webm", "libopus", 48_000, stream_out=True),
        48_000,
        says_duration=False,
        is_streamable=True,
    ),
    "flac": Form(".flac", "audio/flac", "flac", "flac", _Mux("flac", "flac")),
    "flac_live": Form(
        ".flac",
        "audio/flac",
        "flac",
        "flac",
        _Mux("flac", "flac", stream_out=True),
        says_duration=False,
        is_streamable=True,
    ),
    "amr": Form(
        ".amr",
        "audio/amr",
        "amr",
        "amr_nb",
        _Mux("amr", "libopencore_amrnb", 8000, bit_rate=12_200),
        8000,
        says_duration=False,
        is_streamable=True,
    ),
    "amr_wideband": Form(
        ".amr",
        "audio/amr-wb",
        "amr",
        "amr_wb",
        _amr_wideband,
        says_duration=False,
        is_streamable=True,
        is_silent=True,
    ),
    "3gp_amr": Form(
        ".3gp",
        "video/3gpp",
        _MOV,
        "amr_nb",
        _Mux("3gp", "libopencore_amrnb", 8000, video="h263", bit_rate=12_200),
        8000,
        has_video=True,
    ),
    "3gp_aac": Form(".3gp", "audio/3gpp", _MOV, "aac", _Mux("3gp", "aac")),
    "wma": Form(".wma", "audio/x-ms-wma", "asf", "wmav2", _Mux("asf", "wmav2", 44_100, bit_rate=64_000), 44_100),
    "aiff": Form(".aiff", "audio/aiff", "aiff", "pcm_s16be", _Mux("aiff", "pcm_s16be")),
    "mp4": Form(".mp4", "video/mp4", _MOV, "aac", _Mux("mp4", "aac", 44_100, video=_X264), 44_100, has_video=True),
    "mp4_fragmented": Form(
        ".mp4",
        "video/mp4",
        _MOV,
        "aac",
        _Mux("mp4", "aac", video=_X264, options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
        has_video=True,
        says_duration=False,
        is_streamable=True,
    ),
    "mov": Form(
        ".mov", "video/quicktime", _MOV, "pcm_s16le", _Mux("mov", "pcm_s16le", video=_X264), has_video=True
    ),
    "mkv": Form(
        ".mkv", "video/x-matroska", "matroska,webm", "aac", _Mux("matroska", "aac", video=_X264), has_video=True
    ),
    "avi": Form(
        ".avi", "video/x-msvideo", "avi", "mp3", _Mux("avi", "libmp3lame", video="mpeg4"), has_video=True
    ),
    "avi_pcm": Form(".avi", "video/x-msvideo", "avi", "pcm_s16le", _Mux("avi", "pcm_s16le")),
}  # fmt: skip


def encode(form: str, sound: Sound) -> bytes:
    """A recording in one of the :data:`FORMS`."""
    return FORMS[form].make(sound)


def write(folder: Path, form: str, sound: Sound) -> Path:
    """A recording as a file, named after its form."""
    path = folder / f"{form}{FORMS[form].extension}"
    path.write_bytes(encode(form, sound))
    return path


def cut(content: bytes, share: float = 0.5) -> bytes:
    """The first part of a file, as of an upload that broke off."""
    return content[: int(len(content) * share)]


def flip(content: bytes, start: int, length: int) -> bytes:
    """The file with every bit of a stretch turned over."""
    return content[:start] + bytes(byte ^ 0xFF for byte in content[start : start + length]) + content[start + length :]


def mutations(content: bytes, count: int, seed: int) -> list[bytes]:
    """Damaged versions of a file: cut anywhere, single bits turned, stretches lost, doubled or overwritten."""
    chance = random.Random(seed)
    damaged = []
    for index in range(count):
        version = bytearray(content)
        start = chance.randrange(min(len(content), 2000) if index % 2 else len(content))
        stretch = slice(start, start + chance.randrange(1, 200))
        match chance.choice(("cut", "bits", "bits", "bits", "lost", "doubled", "noise")):
            case "cut":
                del version[start:]
            case "bits":
                for _ in range(chance.randrange(1, 12)):
                    position = min(len(version) - 1, start + chance.randrange(64))
                    version[position] ^= 1 << chance.randrange(8)
            case "lost":
                del version[stretch]
            case "doubled":
                version[start:start] = version[stretch]
            case _:
                version[stretch] = chance.randbytes(len(version[stretch]))
        damaged.append(bytes(version))
    return damaged


def _damaged_index(sound: Sound) -> bytes:
    content = encode("m4a", sound)
    return flip(content, content.index(b"stsz") + 12, 200)


def _no_such_codec(sound: Sound) -> bytes:
    content = encode("wav", sound)
    return content[:20] + b"\xed\xfe" + content[22:]


def _zeroed_tail(sound: Sound) -> bytes:
    """As a resumed upload leaves it that lost its last part but kept its length."""
    content = encode("m4a_faststart", sound)
    kept = len(content) // 2
    return content[:kept] + bytes(len(content) - kept)


def _nothing(form: str) -> Callable[[Sound], bytes]:
    return lambda _: encode(form, np.zeros(0, dtype=np.float32))


def _truncated(form: str, share: float) -> Callable[[Sound], bytes]:
    return lambda sound: cut(encode(form, sound), share)


_TEXT = b"Minutes of the meeting. Present: nobody. There was no sound at all.\n" * 40
_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
_HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
_DASH = b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'
_CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"
_CENC = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": _KEY, "encryption_kid": _KEY[::-1]}

REJECTS: Mapping[str, Reject] = {
    "empty": Reject("media.empty", lambda _: b""),
    "text": Reject("media.unsupported", lambda _: _TEXT),
    "one_byte": Reject("media.unsupported", lambda _: b"x"),
    "zip": Reject("media.unsupported", lambda _: _zip()),
    "pdf": Reject("media.unsupported", lambda _: _PDF),
    "png": Reject("media.unsupported", lambda _: png()),
    "jpeg": Reject("media.unsupported", lambda _: jpeg()),
    "heic": Reject("media.unsupported", _heic),
    "zeros": Reject("media.unsupported", lambda _: bytes(50_000)),
    "noise": Reject("media.unsupported", lambda _: random.Random(7).randbytes(100_000)),
    "hls_playlist": Reject("media.unsupported", lambda _: _HLS),
    "dash_manifest": Reject("media.unsupported", lambda _: _DASH),
    "concat_script": Reject("media.unsupported", lambda _: _CONCAT),
    "transport_stream": Reject("media.unsupported", _Mux("mpegts", "aac", video=_X264)),
    "unknown_codec": Reject("media.unsupported", _no_such_codec),
    "mp4_without_audio": Reject("media.no_audio", _Mux("mp4", None, video=_X264)),
    "webm_without_audio": Reject("media.no_audio", _Mux("webm", None, video="libvpx-vp9")),
    "m4a_without_tracks": Reject("media.no_audio", _nothing("m4a")),
    **{
        f"nothing_in_{form}": Reject("media.zero_length", _nothing(form))
        for form in ("wav", "aiff", "flac", "ogg_opus", "webm", "wma")
    },
    **{
        f"{form}_cut_at_{share}": Reject("media.corrupt", _truncated(form, share))
        for form, described in FORMS.items()
        if not described.is_streamable and form != "mp3_tagged"
        for share in (0.5, 0.9)
    },
    "m4a_without_index": Reject("media.corrupt", lambda sound: encode("m4a", sound).partition(b"moov")[0][:-4]),
    "m4a_with_damaged_index": Reject("media.corrupt", _damaged_index),
    "m4a_with_zeroed_tail": Reject("media.corrupt", _zeroed_tail),
    "wav_with_flipped_header": Reject("media.corrupt", lambda sound: flip(encode("wav", sound), 12, 24)),
    "flac_with_flipped_header": Reject("media.corrupt", lambda sound: flip(encode("flac", sound), 8, 34)),
    "ogg_with_flipped_header": Reject("media.corrupt", lambda sound: flip(encode("ogg_opus", sound), 20, 60)),
    "mkv_with_flipped_header": Reject("media.corrupt", lambda sound: flip(encode("mkv", sound), 4, 200)),
    "cenc_mp4": Reject("media.encrypted", _Mux("mp4", "aac", 44_100, options=_CENC)),
}  # fmt: skip
