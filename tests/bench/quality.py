"""How good and how fast the models are, alone and through the pipeline.

Every measurement runs in a fresh process, one after the other, so that peaks of memory are its own and loading
counts. Word error rates are of text normalised as Whisper's authors do (numbers, spelling, punctuation); diarization
error rates have no collar.
"""

import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from shared.weights import DEFAULT_MODELS, find_model
from tests.recordings import Recording, dialogue, sample

Row = dict[str, Any]
_SAMPLE_EVERY_S = 0.5


def quality(alias: str, models_dir: Path) -> list[Row]:
    """Words and speakers, on recordings whose words and turns are known."""
    return [_in_a_process(attributed, recording, alias, models_dir) for recording in (sample(), dialogue())]


def speed(alias: str, models_dir: Path, long: Recording) -> list[Row]:
    """One long recording through the command, and through faster-whisper alone."""
    measures = (through_earwitness, bare_with_one_thread, bare_with_all_cores)
    return [_in_a_process(measure, long, alias, models_dir) for measure in measures]


def _in_a_process(measure: Callable[..., Row], recording: Recording, alias: str, models_dir: Path) -> Row:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        row = pool.submit(measure, recording, alias, models_dir).result()
    return {"model": find_model(alias).label, "recording": recording.path.stem, "how": measure.__name__, **row}


def attributed(recording: Recording, alias: str, models_dir: Path) -> Row:
    """Words, turns, and words with speakers."""
    from gpu_jobs.diarizer import Diarizer
    from gpu_jobs.recognizer import Recognizer
    from shared.attribution import attribute

    recognizer = Recognizer(models_dir, alias)
    started = time.perf_counter()
    recognition = recognizer.recognize(str(recording.path)).recognition
    recognized_s = time.perf_counter() - started
    diarizer = Diarizer(models_dir, DEFAULT_MODELS["diarize"])
    started = time.perf_counter()
    diarization = diarizer.diarize(str(recording.path)).diarization
    diarized_s = time.perf_counter() - started
    transcript = attribute(recognition, diarization)
    said: dict[str, str] = {}
    for segment in transcript.segments:
        said[segment.speaker or ""] = said.get(segment.speaker or "", "") + segment.text
    return {
        **_words(recording, "".join(segment.text for segment in recognition.segments)),
        "cpwer": concatenated_permutation_wer(recording, said),
        "der": diarization_error_rate(recording, diarization),
        "speakers": len(transcript.speakers),
        **_cost(recognition.duration_s, recognized_s),
        "diarization_rtf": diarized_s / recognition.duration_s,
    }


def through_earwitness(recording: Recording, alias: str, _models_dir: Path) -> Row:
    """The whole command, from its start to its end: server, upload, validation, words, captions and all."""
    command = [sys.executable, "-c", "from infra.cli import main; main()", "transcribe", str(recording.path)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--no-diarize", "--json", "--model", alias], stdout=subprocess.PIPE, text=True
    )
    peak = _Peak(process.pid)
    output, _ = process.communicate()
    elapsed_s = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError(f"earwitness ended with {process.returncode}")
    (result,) = json.loads(output)
    transcript = result["job"]["transcript"]
    text = "".join(word["text"] for segment in transcript["segments"] for word in segment["words"])
    audio_s = transcript["duration_s"]
    cost = {"audio_s": audio_s, "wall_s": elapsed_s, "rtf": elapsed_s / audio_s, "peak_mb": peak.stop()}
    return {**_words(recording, text), **cost}


class _Peak:
    """Watches the memory of a process and all its descendants: the sum of proportional set sizes (PSS)."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._peak_bytes = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The highest sum seen, in MB."""
        self._stopping.set()
        self._thread.join()
        return self._peak_bytes / 1e6

    def _watch(self) -> None:
        while not self._stopping.wait(_SAMPLE_EVERY_S):
            total = 0
            try:
                for process in (self._root, *self._root.children(recursive=True)):
                    total += process.memory_full_info().pss
            except psutil.Error:
                continue  # a process ended meanwhile: the next look counts
            self._peak_bytes = max(self._peak_bytes, total)


def bare_with_one_thread(recording: Recording, alias: str, models_dir: Path) -> Row:
    """Faster-whisper's own call with the same settings; loading the model is counted."""
    return _bare(recording, alias, models_dir, threads=1)


def bare_with_all_cores(recording: Recording, alias: str, models_dir: Path) -> Row:
    """The same with a thread for each core."""
    return _bare(recording, alias, models_dir, threads=len(os.sched_getaffinity(0)))


def _bare(recording: Recording, alias: str, models_dir: Path, *, threads: int) -> Row:
    from faster_whisper import WhisperModel

    started = time.perf_counter()
    model = WhisperModel(str(models_dir / alias), device="cpu", compute_type="int8", cpu_threads=threads)
    segments, info = model.transcribe(
        str(recording.path), word_timestamps=True, vad_filter=True, condition_on_previous_text=False
    )
    text = "".join(segment.text for segment in segments)
    return {**_words(recording, text), **_cost(info.duration, time.perf_counter() - started)}


def _words(recording: Recording, heard: str) -> Row:
    import jiwer
    from whisper_normalizer.english import EnglishTextNormalizer

    normal = EnglishTextNormalizer()
    return {"wer": float(jiwer.wer(normal(recording.text), normal(heard)))}


def concatenated_permutation_wer(recording: Recording, said: dict[str, str]) -> float:
    """Word error rate of each speaker's words, under the best assignment of speakers (Watanabe et al., 2020)."""
    from meeteval.wer import cp_word_error_rate
    from whisper_normalizer.english import EnglishTextNormalizer

    logging.getLogger("meeteval").setLevel(logging.ERROR)  # It tells that there are no times to sort by.
    normal = EnglishTextNormalizer()
    truth: dict[str, str] = {}
    for speaker, text in recording.lines:
        truth[speaker] = f"{truth.get(speaker, '')} {text}"
    rate = cp_word_error_rate(
        {speaker: normal(text) for speaker, text in truth.items()},
        {speaker: normal(text) for speaker, text in said.items()},
    )
    return float(rate.error_rate)


def diarization_error_rate(recording: Recording, diarization: Any) -> float:
    """Share of speech time that is missed, invented or given to the wrong speaker; no collar, overlaps count."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: Any) -> Any:
        result = Annotation()
        for index, turn in enumerate(turns):
            result[Segment(turn.start_s, turn.end_s), index] = turn.speaker
        return result

    whole = Timeline([Segment(0.0, diarization.duration_s)])
    return float(DiarizationErrorRate()(annotation(recording.turns), annotation(diarization.turns), uem=whole))


def _cost(audio_s: float, elapsed_s: float) -> Row:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "audio_s": audio_s,
        "wall_s": elapsed_s,
        "rtf": elapsed_s / audio_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def print_rows(rows: list[Row]) -> None:
    """Print a table."""
    table = Table(title="Quality and speed")
    columns = {
        "model": "{}", "recording": "{}", "how": "{}", "wer": "{:.3f}", "cpwer": "{:.3f}", "der": "{:.3f}",
        "speakers": "{}", "audio_s": "{:.0f}", "wall_s": "{:.1f}", "rtf": "{:.3f}", "diarization_rtf": "{:.3f}",
        "cpu_s": "{:.0f}", "peak_mb": "{:.0f}",
    }  # fmt: skip
    for name in columns:
        table.add_column(name.replace("_", " "), justify="left" if columns[name] == "{}" else "right")
    for row in rows:
        table.add_row(*(shape.format(row[name]) if name in row else "" for name, shape in columns.items()))
    Console(width=170).print(table)
