"""The process that opens uploads with FFmpeg, so that no upload can hang, crash or starve the one that asked.

``python -m infra.probe_child MEMORY_BYTES`` speaks the protocol of :class:`infra.child.Child`. A request is
``{"location", "containers", "timeout_s", "cpu_s"}``; the answer has either ``probe``, the fields of
``shared.media.Probe``, or ``refusal``, a code and a sentence. What computes for longer than ``cpu_s`` is ended by
``SIGXCPU`` and has no answer. It imports the standard library and PyAV only, so that it is warm soon.
"""

import contextlib
import json
import math
import os
import queue
import resource
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import av
import av.error
import av.logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition

from infra.probe_flac import ends_whole, has_oversized_frames
from infra.probe_refusal import (
    CUT_OFF,
    DAMAGED,
    ENCRYPTED,
    NO_AUDIO,
    NOT_A_RECORDING,
    OVERSIZED_FRAMES,
    SILENT_VIDEO,
    UNHEARD_OF,
    UNKNOWN_CODEC,
    ZERO_LENGTH,
    Refusal,
)
from infra.probe_source import Source, SourceFile, open_source
from infra.probe_structure import HEAD_BYTES, check_whole, frame_format, has_content, identify

# Enough to hear that a decoder works, little enough to cost nothing.
_START_S: Final = 0.25
_END_S: Final = 1.0
# Of the sound that was told, so much may be missing at the end.
_FORGIVEN_S: Final = 0.5
_END_ALLOWANCE_BYTES: Final = 8 * 1024 * 1024
# Up to here the whole is heard: seeking in so little is unsure, and gains nothing.
_SHORT_S: Final = 2.0
_MAX_PACKETS: Final = 400
# A guess at content without a signature is believed after this many good frames.
_CONVINCING_FRAMES: Final = 4
# Of sound that can be mixed to 16 kHz mono. Nobody records at a few samples a second, but a frame of such sound takes a
# gigabyte when it is brought to 16 kHz; and beyond 16 channels FFmpeg knows no way to mix them.
_RATES_HZ: Final = range(1_000, 768_001)
_CHANNELS: Final = range(1, 17)
# Families whose index or header promises an end that can be looked at.
_WITH_END: Final = frozenset({"flac", "mov", "matroska", "asf", "avi"})
_FAST_SEEK: Final = 0x80000  # AVFMT_FLAG_FAST_SEEK; PyAV's enumeration of it is not typed.
_CONSTANT_RATE_SPREAD: Final = 1
_LEGACY_DRM_TAGS: Final = frozenset({"drms", "aavd", "enca"})
_NOT_FILM: Final = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_DAMAGE: Final = (
    av.error.FFmpegError,
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    ValueError,
    struct.error,
)


def examine(location: str, containers: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Look at one file.

    Args:
        location: Path or URL.
        containers: FFmpeg's names of the demuxers that may run.
        timeout_s: For fetching bytes; the rest is bounded by whoever asked.

    Returns:
        The fields of a ``Probe``.

    Raises:
        Refusal: The file is not accepted, or cannot be had.
    """
    source = open_source(location, timeout_s=timeout_s)
    with SourceFile(source) as file:
        try:
            family = identify(source.read_at(0, HEAD_BYTES))
            streams_on = check_whole(source, family)
            with _open(file, source, containers, family) as container:
                fields = _describe(container, source, file, family, streams_on)
        except Refusal as refusal:
            raise file.failure or refusal from None
        except _DAMAGE:
            raise file.failure or Refusal(*DAMAGED) from None
        if file.failure:
            raise file.failure  # What FFmpeg makes of bytes that it did not get is no finding.
        return fields


def _open(file: SourceFile, source: Source, containers: Sequence[str], family: str) -> InputContainer:
    options = {"format_whitelist": ",".join(containers), "protocol_whitelist": "none", "threads": "1"}
    try:
        return av.open(file, "r", options=options, metadata_errors="replace")
    except av.error.EOFError:
        raise Refusal(*(DAMAGED if has_content(source, family) else ZERO_LENGTH)) from None
    except av.error.FFmpegError:
        frames = frame_format(source.read_at(0, HEAD_BYTES))
        if family:
            raise
        if frames is None:
            raise Refusal(*NOT_A_RECORDING) from None
    try:
        file.seek(0)
        return av.open(file, "r", format=frames, options=options, metadata_errors="replace")
    except av.error.FFmpegError:
        raise Refusal(*NOT_A_RECORDING) from None


def _describe(
    container: InputContainer, source: Source, file: SourceFile, family: str, streams_on: bool
) -> dict[str, Any]:
    has_video = any(not stream.disposition & _NOT_FILM for stream in container.streams.video)
    stream = _audio(container, has_video)
    declared_s = None if streams_on else _declared_s(container, stream)
    is_short = declared_s is not None and declared_s <= _SHORT_S
    start = _Listening(stream)
    start.listen(container, seconds=2 * _SHORT_S if is_short else _START_S)
    if not start.packets:
        if family == "flac" and has_oversized_frames(source, declared_s or 0.0):
            raise Refusal(*OVERSIZED_FRAMES)
        raise Refusal(*(DAMAGED if declared_s else ZERO_LENGTH))
    if start.good < start.bad or not start.good:
        raise Refusal(*(DAMAGED if family else NOT_A_RECORDING))
    if not family and start.good < _CONVINCING_FRAMES and start.bad:
        raise Refusal(*NOT_A_RECORDING)
    if declared_s is not None and (family in _WITH_END or container.format.name == "mp3"):
        end = start if start.is_over else _listen_at_end(container, stream, file, declared_s)
        if family == "flac":
            _check_flac_end(end, source, declared_s, is_all_heard=end is start)
        elif family in _WITH_END and not file.is_spent and end.packets and not end.good:
            raise Refusal(*DAMAGED)
        if container.format.name == "mp3" and not _is_sure(source, declared_s, start, end):
            declared_s = None
    return {
        "container": container.format.name,
        "audio_codec": stream.codec_context.codec.canonical_name,
        "duration_s": declared_s,
        "sample_rate_hz": start.rate_hz,
        "channels": start.channels,
        "has_video": has_video,
    }


def _audio(container: InputContainer, has_video: bool) -> AudioStream:
    """The stream that a player would play.

    Raises:
        Refusal: There is none, or nothing here can decode it.
    """
    if not container.streams.audio:
        raise Refusal(*(SILENT_VIDEO if has_video else NO_AUDIO))
    playable = [stream for stream in container.streams.audio if _has_decoder(stream)]
    if not playable:
        raise Refusal(*UNKNOWN_CODEC)
    best = container.streams.best("audio")
    stream = best if isinstance(best, AudioStream) and best in playable else playable[0]
    is_locked = any(name.lower().startswith(("asf_protection", "asf_key_id")) for name in container.metadata)
    if is_locked or "enc_key_id" in stream.metadata or stream.codec_context.codec_tag in _LEGACY_DRM_TAGS:
        raise Refusal(*ENCRYPTED)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def _tick_s(stream: AudioStream) -> float:
    if not stream.time_base:
        raise Refusal(*DAMAGED)
    return float(stream.time_base)


def _has_decoder(stream: AudioStream) -> bool:
    return getattr(stream, "codec_context", None) is not None


class _Listening:
    """What came of decoding a stretch of one stream.

    Attributes:
        packets: With content.
        good: Frames with sound.
        bad: Packets that could not be decoded.
        end_s: End of the last packet since the stream's start; 0 before any.
        sizes: Bytes of each packet.
        is_over: Nothing was left after it.
        rate_hz: Of what was decoded, which may differ from the header's.
        channels: Likewise.
    """

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self.packets = self.good = self.bad = 0
        self.is_over = False
        self.heard_s = self.end_s = 0.0
        self.sizes: list[int] = []
        self.rate_hz = stream.codec_context.sample_rate
        self.channels = stream.codec_context.channels

    def listen(self, container: InputContainer, *, seconds: float) -> None:
        """Decode from where the container stands."""
        for packet in _packets(container, self._stream):
            if packet.has_sidedata("encryption_info"):
                raise Refusal(*ENCRYPTED)
            is_good = self._decode(packet)
            if packet.size:
                self._measure(packet, is_good)
            if self.heard_s >= seconds or self.packets >= _MAX_PACKETS:
                return
        self.is_over = True

    def _measure(self, packet: "Packet[AudioStream]", is_good: bool) -> None:
        self.packets += 1
        self.sizes.append(packet.size)
        if packet.pts is not None:
            tick_s = _tick_s(self._stream)
            length_s = (packet.duration or 0) * tick_s
            start_s = (packet.pts - (self._stream.start_time or 0)) * tick_s
            # The last frame of a cut file has its header, and nobody hears the rest.
            self.end_s = max(self.end_s, start_s + (length_s if is_good else min(length_s, _FORGIVEN_S)))

    def _decode(self, packet: "Packet[AudioStream]") -> bool:
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return True
        except av.error.FFmpegError:
            self.bad += 1
            return False
        for frame in frames:
            if frame.samples and frame.sample_rate:
                self.good += 1
                self.heard_s += frame.samples / frame.sample_rate
                self.rate_hz, self.channels = frame.sample_rate, frame.layout.nb_channels
                if self.rate_hz not in _RATES_HZ or self.channels not in _CHANNELS:
                    raise Refusal(*UNHEARD_OF)
        return True


def _packets(container: InputContainer, stream: AudioStream) -> Iterator["Packet[AudioStream]"]:
    """Packets to the end, or to where reading fails: what follows a cut is judged elsewhere."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from container.demux(stream)


def _declared_s(container: InputContainer, stream: AudioStream) -> float | None:
    """The length, where it is more than FFmpeg's guess from a bit rate."""
    if container.format.name in ("amr", "aac"):
        return None
    if stream.duration is not None:
        declared_s = stream.duration * _tick_s(stream)
    else:
        declared_s = (container.duration or 0) / av.time_base
    return declared_s if declared_s > 0 else None


def _listen_at_end(container: InputContainer, stream: AudioStream, file: SourceFile, declared_s: float) -> _Listening:
    """Decode what is left when playing starts shortly before the declared end.

    Where a file has no index, FFmpeg seeks by reading all of it: then the allowance is spent, and nothing found.
    """
    end = _Listening(stream)
    file.allowance_bytes = _END_ALLOWANCE_BYTES
    container.flags |= _FAST_SEEK  # An MP3 is searched by its bit rate.
    with contextlib.suppress(av.error.FFmpegError):
        # Not by stream: an index of film positions is all that many containers have.
        container.seek(int((declared_s - _END_S) * av.time_base) + (container.start_time or 0))
        end.listen(container, seconds=4 * _END_S)
    return end


def _check_flac_end(end: _Listening, source: Source, declared_s: float, *, is_all_heard: bool) -> None:
    """Only FLAC promises a length without promising a size; elsewhere sound may rightly end before the film."""
    needed_s = declared_s - min(_FORGIVEN_S, declared_s * 0.05)
    if is_all_heard:
        is_there = max(end.end_s, end.heard_s) >= needed_s
    else:
        is_there = end.end_s >= needed_s or ends_whole(source, needed_s)
    if not is_there:
        raise Refusal(*CUT_OFF)
    if end.packets and not end.good:
        raise Refusal(*DAMAGED)


def _is_sure(source: Source, declared_s: float, start: _Listening, end: _Listening) -> bool:
    """Whether an MP3's length is known: by a table at its start, or because its bit rate never changes."""
    if not end.packets or end.end_s < 0.9 * declared_s:
        return False
    if _has_mp3_table(source):
        return True
    sizes = start.sizes + end.sizes
    return max(sizes) - min(sizes) <= _CONSTANT_RATE_SPREAD


def _has_mp3_table(source: Source) -> bool:
    head = source.read_at(0, 10)
    tag_bytes = 0
    if head.startswith(b"ID3") and len(head) == 10:
        tag_bytes = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    frame = source.read_at(tag_bytes, HEAD_BYTES)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def answer(line: str) -> str:
    """One request to one answer."""
    request = json.loads(line)
    bound_computing(request.pop("cpu_s"))
    try:
        return json.dumps({"probe": examine(**request)})
    except Refusal as refusal:
        return json.dumps({"refusal": [refusal.code, refusal.sentence]})


def confine(memory_bytes: int) -> None:
    """Bound this process before it opens anything. A system without a limit goes without."""
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def bound_computing(cpu_s: int) -> None:
    """Let this process compute for so many seconds more, in which FFmpeg itself cannot be interrupted.

    Its dictionaries search all their entries for each that is added: time goes with the square of the tags in a file.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + cpu_s, hard))


def _read_requests(requests: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # The parent is gone: nobody waits for what is under way.


def main() -> None:
    """Answer until the parent is gone."""
    confine(int(sys.argv[1]))
    av.logging.set_libav_level(av.logging.PANIC)
    # Answers go out on a copy, so that nothing a library prints can be taken for one.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    print('{"ready": true}', file=answers, flush=True)
    while True:
        print(answer(requests.get()), file=answers, flush=True)


if __name__ == "__main__":
    main()
