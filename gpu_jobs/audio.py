"""Decoding: any accepted recording to 16 kHz mono float32, as a stream, in bounded memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from shared.errors import PipelineError
from shared.media import ACCEPTED_CONTAINERS, MediaLimits, check_duration
from shared.transcript import Notice

SAMPLE_RATE_HZ = 16_000
Samples = NDArray[np.float32]

TRUNCATED = Notice(code="media.truncated", message="The file is damaged or cut off; what could be read was used.")

# Opening is limited to formats that were probed, and to the file itself: a playlist or a reference inside a hostile
# file must not make the decoder read other files or the network.
_OPEN_OPTIONS = {
    "format_whitelist": ",".join(sorted({name for names in ACCEPTED_CONTAINERS for name in names.split(",")})),
    "protocol_whitelist": "file",
}
# Demuxers whose stream length comes from a header that is right unless the file was cut off. Others estimate it.
_HONEST_HEADERS = frozenset({"wav", "aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2"})
_MISSING_TOLERANCE_S = 1.0
_MIN_HEARD_S = 1.0
_BLOCK_SAMPLES = SAMPLE_RATE_HZ
# Of sound that can be mixed to 16 kHz mono. The prober has the same limits, but hears only the start; and a frame of a
# few samples a second takes a gigabyte at 16 kHz.
_RATES_HZ = range(1_000, 768_001)
_CHANNELS = range(1, 17)


class AudioStream:
    """The decoded audio of one recording, read once from start to end.

    A damaged packet is skipped, as players do. Where the rest cannot be read, what was heard so far counts and
    :attr:`is_truncated` is set.

    Args:
        media: Path, or a binary file that can seek.
        limits: The length limit is enforced on decoded audio; headers may lie.

    Raises:
        PipelineError: On entering: ``media.unsupported``, ``media.corrupt`` or ``media.no_audio``.
    """

    def __init__(self, media: str | IO[bytes], limits: MediaLimits) -> None:
        self._media = media
        self._limits = limits
        self._samples = 0
        self._good_packets = 0
        self._bad_packets = 0
        self._is_cut_off = False
        self._finished = False

    def __enter__(self) -> Self:
        """Open the recording and find its audio."""
        try:
            self._container = av.open(self._media, mode="r", options=_OPEN_OPTIONS, metadata_errors="ignore")
        except av.error.ArgumentError as error:
            raise PipelineError("media.unsupported") from error
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise PipelineError("media.corrupt", "The file could not be opened: it is damaged or cut off.") from error
        try:
            self._stream = self._container.streams.best("audio")
            if self._stream is None:
                raise PipelineError("media.no_audio")
            self._declared_s = self._read_declared_s()
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the decoder."""
        self._container.close()

    @property
    def decoded_s(self) -> float:
        """Seconds decoded so far; after the last block, the truth about the length."""
        return self._samples / SAMPLE_RATE_HZ

    @property
    def estimate_s(self) -> float:
        """Best guess at the whole length: as declared until that proves too short, then as decoded."""
        return self.decoded_s if self._finished else max(self._declared_s or 0.0, self.decoded_s)

    @property
    def is_truncated(self) -> bool:
        """Whether some of the recording is missing; known after the last block."""
        if self._is_cut_off:
            return True
        is_honest = self._container.format.name in _HONEST_HEADERS
        missing_s = (self._declared_s or 0.0) - self.decoded_s
        return is_honest and missing_s > max(_MISSING_TOLERANCE_S, 0.01 * self.decoded_s)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What to tell about the recording; known after the last block."""
        return (TRUNCATED,) if self.is_truncated else ()

    def blocks(self) -> Iterator[Samples]:
        """Decode, in blocks of about a second.

        Yields:
            Samples in -1..1, shape (n,), n > 0.

        Raises:
            PipelineError: ``media.too_long``; ``media.zero_length`` when there was nothing to decode;
                ``media.corrupt`` when damage left less than a second, or less than half of the packets.
        """
        held: list[Samples] = []
        held_samples = 0
        for piece in self._pieces():
            held.append(piece)
            held_samples += piece.size
            if held_samples >= _BLOCK_SAMPLES:
                yield np.concatenate(held)
                held, held_samples = [], 0
        if held:
            yield np.concatenate(held)
        self._finished = True
        self._check_result()

    def _pieces(self) -> Iterator[Samples]:
        resampler = _Resampler()
        for frame in self._frames():
            yield from self._counted(resampler.convert(frame))
        yield from self._counted(resampler.flush())

    def _counted(self, pieces: Iterator[Samples]) -> Iterator[Samples]:
        for piece in pieces:
            self._samples += piece.size
            check_duration(self.decoded_s, self._limits)
            yield piece

    def _frames(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self._is_cut_off = True
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                frames = None
            if frames is None or not all(_is_mixable(frame) for frame in frames):
                self._bad_packets += 1
                continue
            self._good_packets += 1
            yield from frames

    def _check_result(self) -> None:
        is_damaged = self._is_cut_off or self._bad_packets > 0 or self.is_truncated
        if is_damaged and (self.decoded_s < _MIN_HEARD_S or self._bad_packets > self._good_packets):
            raise PipelineError("media.corrupt", "The file is damaged or cut off: almost nothing could be read.")
        if self._samples == 0:
            raise PipelineError("media.zero_length")

    def _read_declared_s(self) -> float | None:
        stream = self._stream
        if stream is not None and stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        duration = self._container.duration
        return duration / av.time_base if duration and duration > 0 else None


def _is_mixable(frame: Any) -> bool:
    return frame.sample_rate in _RATES_HZ and frame.layout.nb_channels in _CHANNELS


class _Resampler:
    """Resamples frames whose format may change midway, as in joined MP3 files."""

    def __init__(self) -> None:
        self._source: tuple[Any, ...] | None = None
        self._resampler: av.AudioResampler | None = None

    def convert(self, frame: Any) -> Iterator[Samples]:
        """16 kHz mono samples of a frame, as far as they are ready."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            self._source = source
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        frame.pts = None  # Samples are counted; timestamps of damaged files would confuse the filter.
        yield from self._run(frame)

    def flush(self) -> Iterator[Samples]:
        """The samples that the filter still holds."""
        if self._resampler is not None:
            yield from self._run(None)
            self._resampler = None

    def _run(self, frame: Any) -> Iterator[Samples]:
        if self._resampler is None:
            return
        for resampled in self._resampler.resample(frame):
            samples = resampled.to_ndarray().reshape(-1).astype(np.float32, copy=False)
            if samples.size:
                yield samples


@dataclass(frozen=True)
class Window:
    """A stretch of a recording.

    Attributes:
        first_sample: Its place in the recording.
        samples: Shape (n,).
    """

    first_sample: int
    samples: Samples

    @property
    def start_s(self) -> float:
        """Seconds from the start of the recording."""
        return self.first_sample / SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.size / SAMPLE_RATE_HZ


def windows(
    blocks: Iterator[Samples], *, max_s: float, search_s: float, find_cut: Callable[[Samples], int]
) -> Iterator[Window]:
    """Cut a stream into windows that together hold every sample once.

    Holds at most one window and one block.

    Args:
        blocks: Samples in order.
        max_s: No window is longer.
        search_s: How much of a window's end may be given to the next one.
        find_cut: Where to cut the last ``search_s`` of a full window: an index into them, 0 < index <= length.
    """
    max_samples, search_samples = int(max_s * SAMPLE_RATE_HZ), int(search_s * SAMPLE_RATE_HZ)
    first_sample = 0
    held: list[Samples] = []
    held_samples = 0
    for block in blocks:
        held.append(block)
        held_samples += block.size
        if held_samples <= max_samples:
            continue
        joined = np.concatenate(held)
        while joined.size > max_samples:
            tail = joined[max_samples - search_samples : max_samples]
            cut = max_samples - search_samples + find_cut(tail)
            yield Window(first_sample, joined[:cut].copy())
            first_sample += cut
            joined = joined[cut:]
        held, held_samples = [joined.copy()], joined.size
    if held_samples:
        yield Window(first_sample, np.concatenate(held))


def quietest(samples: Samples, *, frame_s: float = 0.02, span_s: float = 0.3) -> int:
    """The middle of the quietest ``span_s`` of some audio, as an index; of equals, the last.

    The measure is the mean energy in decibels, so that one click does not spoil a pause.

    Args:
        samples: Shape (n,), n > 0.
        frame_s: Length over which energy is taken.
        span_s: Length of the pause that is looked for.
    """
    frame = int(frame_s * SAMPLE_RATE_HZ)
    count = samples.size // frame
    span = int(span_s / frame_s)
    if count <= span:
        return max(1, samples.size // 2)
    energy = np.square(samples[: count * frame].reshape(count, frame)).mean(axis=1)
    loudness = np.convolve(10.0 * np.log10(energy + 1e-10), np.full(span, 1.0 / span), mode="valid")
    best = loudness.size - 1 - int(np.argmin(loudness[::-1]))
    return best * frame + span * frame // 2
