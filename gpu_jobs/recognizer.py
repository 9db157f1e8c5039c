"""Speech recognition with faster-whisper, in windows cut at pauses, several at a time."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpu_jobs.attempt import OnProgress
from gpu_jobs.audio import SAMPLE_RATE_HZ, AudioStream, Samples, Window, quietest, windows
from shared.errors import PipelineError
from shared.events import PARTIAL_TEXT_CHARACTERS
from shared.media import MediaLimits
from shared.transcript import NO_SPEECH, Notice, Recognition, Segment, Word
from shared.weights import find_model

# Measured on two cores with 8 min of dialogue, wall time over one plain call: 30 s .64, 60 s .54, 120 s .60,
# 300 s .58; word errors are within the noise of each other. What the model hears at once is 30 s.
WINDOW_S = 60.0
MIN_WINDOW_S = 30.0
SEARCH_S = 20.0
_SPEECH_PROBABILITY = 0.35
_VAD_FRAME = 512


def import_runtime() -> None:
    """Import what runs the model, which takes seconds; looks for no accelerator.

    Not done where this module is imported, so that looking at a job does not load a model runtime.
    """
    import ctranslate2  # noqa: F401
    import faster_whisper  # noqa: F401


@dataclass(frozen=True)
class Heard:
    """What came of one recording."""

    recognition: Recognition
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class _Speech:
    """A window's speech, its silences taken out, and where each piece was (in samples of the window)."""

    window: Window
    samples: Samples
    spans: list[dict[str, int]]


class Recognizer:
    """A loaded model.

    On a CPU each window is decoded by one thread and as many windows at a time as there are cores: twice as
    fast as one window with all cores, whose matrices are too small to share. The windows are cut at pauses, the
    models are not conditioned on earlier text, so the cuts change next to nothing.

    Args:
        models_dir: Holds the model's folder, by alias.
        alias: A row of :data:`shared.weights.MODELS`.
        workers: Windows at a time; ``None`` for one a core, or two on an accelerator.
        window_s: Longest window.

    Raises:
        PipelineError: ``model.unknown``, or ``model.unavailable`` when it is not there or cannot be loaded.
    """

    def __init__(self, models_dir: Path, alias: str, *, workers: int | None = None, window_s: float = WINDOW_S) -> None:
        self.model = find_model(alias, "transcribe")
        folder = models_dir / alias
        if not all((folder / file.name).is_file() for file in self.model.files):
            raise PipelineError("model.unavailable", f"Model '{alias}' is not on this machine.")
        import_runtime()
        import ctranslate2
        from faster_whisper import WhisperModel

        self.device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
        # Two on an accelerator: one prepares features while the other has the device.
        self._workers = workers or (2 if self.device == "cuda" else _cores())
        self._window_s = window_s
        try:
            self._whisper = WhisperModel(
                str(folder),
                device=self.device,
                compute_type="float16" if self.device == "cuda" else "int8",
                cpu_threads=1,
                num_workers=1 if self.device == "cuda" else self._workers,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise PipelineError(
                "model.unavailable",
                f"Model '{alias}' could not be loaded; 'earwitness models pull {alias}' mends a damaged one.",
            ) from error

    def recognize(
        self,
        media: str | IO[bytes],
        *,
        language: str | None = None,
        hotwords: Sequence[str] = (),
        initial_prompt: str = "",
        limits: MediaLimits | None = None,
        on_progress: OnProgress | None = None,
    ) -> Heard:
        """Write down what is said in a recording.

        Args:
            media: Path, or a binary file that can seek.
            language: ISO 639 code; ``None`` to detect it where speech begins, for the whole recording.
            hotwords: Names and terms that are likely to be said, the most important first: the model is told no more
                than about 200 tokens of them.
            initial_prompt: Text as it could come before.
            limits: What is accepted.
            on_progress: Called after each window, in order.

        Raises:
            PipelineError: ``request.invalid`` for a language the model does not know; a ``media.*`` code.
        """
        self._check_language(language)
        with AudioStream(media, limits or MediaLimits()) as audio:
            only_language = None if self._whisper.model.is_multilingual else "en"
            run = _Run(self, audio, language or only_language, _Hints(", ".join(hotwords), initial_prompt), on_progress)
            segments = tuple(run.segments())
            notices = audio.notices if segments else (*audio.notices, NO_SPEECH)
            recognition = Recognition(
                language=run.language if segments else "",
                language_probability=run.language_probability if segments else 0.0,
                duration_s=audio.decoded_s,
                segments=segments,
                model=self.model.label,
            )
        return Heard(recognition, notices)

    def _check_language(self, language: str | None) -> None:
        if language is not None and language not in self._whisper.supported_languages:
            raise PipelineError(
                "request.invalid", f"Model '{self.model.alias}' does not know the language '{language}'."
            )


@dataclass(frozen=True)
class _Hints:
    """What the model is told before each stretch of audio: of how to spell, and of what came before."""

    hotwords: str = ""
    initial_prompt: str = ""


class _Run:
    """One recording on its way through a model."""

    def __init__(
        self,
        recognizer: Recognizer,
        audio: AudioStream,
        language: str | None,
        hints: _Hints,
        on_progress: OnProgress | None,
    ) -> None:
        self._recognizer = recognizer
        self._whisper = recognizer._whisper
        self._audio = audio
        self._hints = hints
        self._on_progress = on_progress
        self._tail = ""
        self._stopped = False
        self.language = language or ""
        self.language_probability = 1.0 if language else 0.0

    def segments(self) -> Iterator[Segment]:
        """Segments in order of time. Decoding runs ahead by a bounded number of windows."""
        workers = self._recognizer._workers
        pending: deque[tuple[Window, Future[list[Segment]]]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="recognizer") as pool:
            try:
                for window in self._windows():
                    pending.append((window, pool.submit(self._hear, window)))
                    # One window more than there are workers, so that none waits for the decoder.
                    if len(pending) > workers:
                        yield from self._finish(*pending.popleft())
                while pending:
                    yield from self._finish(*pending.popleft())
            finally:
                self._stopped = True
                pool.shutdown(wait=True, cancel_futures=True)

    def _windows(self) -> Iterator[Window]:
        for window in windows(self._audio.blocks(), max_s=self._window_s(), search_s=SEARCH_S, find_cut=find_pause):
            if not self.language:
                self._detect_language(window)
            yield window

    def _window_s(self) -> float:
        """The longest window, or so much less that a short recording gives every worker its share."""
        if self._hints.initial_prompt:
            # The model forgets the prompt after what it hears at once, so that is all it gets to hear.
            return MIN_WINDOW_S
        share_s = self._audio.estimate_s / self._recognizer._workers + SEARCH_S / 2
        return min(self._recognizer._window_s, max(MIN_WINDOW_S, share_s))

    def _detect_language(self, window: Window) -> None:
        speech = _find_speech(window)
        if speech is not None:
            self.language, self.language_probability, _ = self._whisper.detect_language(audio=speech.samples)

    def _hear(self, window: Window) -> list[Segment]:
        speech = _find_speech(window)
        if speech is None:
            return []
        heard, _ = self._whisper.transcribe(
            speech.samples,
            language=self.language,
            word_timestamps=True,
            hotwords=self._hints.hotwords or None,
            initial_prompt=self._hints.initial_prompt or None,
            # Earlier text makes Whisper repeat itself and lose its place in time.
            condition_on_previous_text=False,
        )
        return _as_segments(self._until_stopped(heard), speech)

    def _until_stopped(self, heard: Any) -> Iterator[Any]:
        for segment in heard:
            if self._stopped:
                return
            yield segment

    def _finish(self, window: Window, future: Future[list[Segment]]) -> list[Segment]:
        segments = future.result()
        if self._on_progress is not None:
            self._tail = (self._tail + "".join(segment.text for segment in segments))[-PARTIAL_TEXT_CHARACTERS:]
            share = (window.start_s + window.duration_s) / max(self._audio.estimate_s, 1e-9)
            self._on_progress(min(1.0, share), self._tail.strip())
        return segments


def find_pause(samples: Samples) -> int:
    """The middle of the longest pause in some audio, as an index; without one, the middle of what is quietest.

    Args:
        samples: Shape (n,), n > 0.
    """
    from faster_whisper.vad import get_vad_model

    padded = np.pad(samples, (0, -samples.size % _VAD_FRAME))
    is_silent = np.concatenate([[False], get_vad_model()(padded).reshape(-1) < _SPEECH_PROBABILITY, [False]])
    edges = np.flatnonzero(np.diff(is_silent.astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if starts.size == 0:
        return quietest(samples)
    longest = int(np.argmax(ends - starts))
    return max(1, min(samples.size, int(starts[longest] + ends[longest]) * _VAD_FRAME // 2))


def _find_speech(window: Window) -> _Speech | None:
    from faster_whisper.vad import collect_chunks, get_speech_timestamps

    spans = get_speech_timestamps(window.samples)
    if not spans:
        return None
    pieces, _ = collect_chunks(window.samples, spans)
    return _Speech(window, np.concatenate(pieces), spans)


def _as_segments(heard: Iterator[Any], speech: _Speech) -> list[Segment]:
    from faster_whisper.transcribe import restore_speech_timestamps

    restored = restore_speech_timestamps(heard, speech.spans, SAMPLE_RATE_HZ)
    groups = [[word for word in segment.words or () if word.word] for segment in restored]
    timed = iter(_in_order([word for group in groups for word in group], speech.window))
    segments: list[Segment] = []
    for group in groups:
        words = tuple(next(timed) for _ in group)
        if words:
            segments.append(Segment(start_s=words[0].start_s, end_s=words[-1].end_s, words=words))
    return segments


def _in_order(heard: list[Any], window: Window) -> list[Word]:
    """Words in time order that do not overlap: the aligner sometimes lets one begin before the last has ended."""
    starts = np.array([word.start for word in heard], dtype=np.float64)
    ends = np.array([word.end for word in heard], dtype=np.float64)
    starts = np.clip(np.maximum.accumulate(starts), 0.0, window.duration_s) if heard else starts
    limits = np.append(starts[1:], window.duration_s)
    ends = np.maximum(starts, np.minimum(ends, limits))
    return [
        Word(
            text=word.word,
            start_s=round(window.start_s + float(start), 3),
            end_s=round(window.start_s + float(end), 3),
            probability=min(1.0, max(0.0, float(word.probability))),
        )
        for word, start, end in zip(heard, starts, ends, strict=True)
    ]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
