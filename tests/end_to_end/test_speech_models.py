"""Real models on recordings whose words and turns are known. The bounds hold with a margin for other machines."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate
from whisper_normalizer.english import EnglishTextNormalizer

from gpu_jobs.diarizer import Diarizer, Told
from gpu_jobs.recognizer import Heard, Recognizer, find_pause
from shared.errors import PipelineError
from shared.events import PARTIAL_TEXT_CHARACTERS
from shared.media import MediaLimits
from shared.options import JobOptions
from shared.transcript import Recognition, Turn
from shared.weights import DEFAULT_MODELS
from tests.model_files import pulled
from tests.recordings import Recording, decoded, dialogue, long_recording, noise, sample, silence, write_wav

pytestmark = [pytest.mark.models, pytest.mark.slow]


@pytest.fixture(scope="module", params=["tiny.en", "base"])
def recognizer(request: pytest.FixtureRequest, models_dir: Path) -> Recognizer:
    return Recognizer(models_dir, pulled(request.param, models_dir))


@pytest.fixture(scope="module")
def diarizer(models_dir: Path) -> Iterator[Diarizer]:
    yield Diarizer(models_dir, pulled(DEFAULT_MODELS["diarize"], models_dir))


def word_error_rate(recording: Recording, recognition: Recognition) -> float:
    normal = EnglishTextNormalizer()
    heard = " ".join(segment.text for segment in recognition.segments)
    return float(jiwer.wer(normal(recording.text), normal(heard)))


def diarization_error_rate(recording: Recording, told: Told) -> float:
    whole = Timeline([Span(0.0, told.diarization.duration_s)])
    return float(DiarizationErrorRate()(annotation(recording.turns), annotation(told.diarization.turns), uem=whole))


def annotation(turns: tuple[Turn, ...]) -> Annotation:
    result = Annotation()
    for index, turn in enumerate(turns):
        result[Span(turn.start_s, turn.end_s), index] = turn.speaker
    return result


def check_numbers(heard: Heard) -> None:
    recognition = heard.recognition
    words = [word for segment in recognition.segments for word in segment.words]
    for segment in recognition.segments:
        assert segment.words
        assert segment.text == "".join(word.text for word in segment.words)
        assert segment.text.startswith(" ")
        assert (segment.start_s, segment.end_s) == (segment.words[0].start_s, segment.words[-1].end_s)
    for word in words:
        assert 0.0 <= word.start_s <= word.end_s <= recognition.duration_s
        assert 0.0 <= word.probability <= 1.0
    assert all(one.end_s <= other.start_s for one, other in pairwise(words))


@pytest.mark.parametrize(("recording", "bound"), [(sample(), 0.16), (dialogue(), 0.03)], ids=["sample", "dialogue"])
def test_words(recognizer: Recognizer, recording: Recording, bound: float) -> None:
    told: list[tuple[float, str | None]] = []
    heard = recognizer.recognize(str(recording.path), on_progress=lambda *progress: told.append(progress))
    assert word_error_rate(recording, heard.recognition) <= bound
    assert heard.notices == ()
    check_numbers(heard)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    last_text = told[-1][1]
    assert last_text
    assert len(last_text) <= PARTIAL_TEXT_CHARACTERS
    spoken = "".join(segment.text for segment in heard.recognition.segments)
    assert spoken.strip().endswith(last_text)


def test_words_of_a_long_recording(recognizer: Recognizer, tmp_path: Path) -> None:
    recording = long_recording(tmp_path / "long.wav", min_s=180.0)
    heard = recognizer.recognize(str(recording.path))
    assert word_error_rate(recording, heard.recognition) <= 0.08
    check_numbers(heard)


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "brown"])
def test_nothing_is_heard_where_nobody_speaks(recognizer: Recognizer, kind: str, tmp_path: Path) -> None:
    sound = silence() if kind == "silence" else noise(kind)
    heard = recognizer.recognize(str(write_wav(tmp_path / f"{kind}.wav", sound)))
    assert heard.recognition.segments == ()
    assert heard.recognition.language == ""
    assert heard.recognition.duration_s == 30.0
    assert [notice.code for notice in heard.notices] == ["audio.no_speech"]


def test_the_language_is_detected_where_speech_begins(recognizer: Recognizer, tmp_path: Path) -> None:
    late = np.concatenate([silence(65.0), decoded(dialogue().path)[: 30 * 16_000]])
    recognition = recognizer.recognize(str(write_wav(tmp_path / "late.wav", late))).recognition
    assert recognition.language == "en"
    assert recognition.language_probability > 0.8
    assert recognition.segments[0].start_s > 65.0


def test_a_language_that_is_given_is_taken(recognizer: Recognizer) -> None:
    recognition = recognizer.recognize(str(dialogue().path), language="en").recognition
    assert (recognition.language, recognition.language_probability) == ("en", 1.0)


def test_a_language_that_the_model_lacks_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(PipelineError) as caught:
        recognizer.recognize(str(dialogue().path), language="tlh")
    assert caught.value.code == "request.invalid"


def test_a_recording_over_the_limit_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(PipelineError) as caught:
        recognizer.recognize(str(dialogue().path), limits=MediaLimits(max_duration_s=20.0))
    assert caught.value.code == "media.too_long"


def test_work_stops_where_progress_is_refused(recognizer: Recognizer) -> None:
    class Enough(Exception):
        pass

    def refuse(*_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        recognizer.recognize(str(dialogue().path), on_progress=refuse)


def test_cuts_fall_into_pauses(models_dir: Path) -> None:
    """Of every stretch of 20 s in the dialogue, the cut is outside all turns, or where a speaker pauses for breath."""
    samples = decoded(dialogue().path)
    for first_s in range(0, 45, 5):
        tail = samples[first_s * 16_000 : (first_s + 20) * 16_000]
        cut = find_pause(tail)
        around = tail[max(0, cut - 1600) : cut + 1600]
        assert np.sqrt(np.mean(around**2)) < 0.1 * np.sqrt(np.mean(tail**2))


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    for build, alias in ((Recognizer, "tiny.en"), (Diarizer, DEFAULT_MODELS["diarize"])):
        with pytest.raises(PipelineError) as caught:
            build(tmp_path, alias)
        assert caught.value.code == "model.unavailable"


@pytest.mark.parametrize(("recording", "bound"), [(sample(), 0.08), (dialogue(), 0.1)], ids=["sample", "dialogue"])
def test_turns(diarizer: Diarizer, recording: Recording, bound: float) -> None:
    shares: list[float] = []
    told = diarizer.diarize(str(recording.path), on_progress=lambda share, _: shares.append(share))
    turns = told.diarization.turns
    assert diarization_error_rate(recording, told) <= bound
    # Named by who first says something: a blip of some milliseconds makes nobody first.
    spoken = [turn.speaker for turn in turns if turn.end_s - turn.start_s >= 0.2]
    assert list(dict.fromkeys(spoken)) == ["SPEAKER_00", "SPEAKER_01"]
    assert [turn.start_s for turn in turns] == sorted(turn.start_s for turn in turns)
    assert all(0.0 <= turn.start_s < turn.end_s <= told.diarization.duration_s for turn in turns)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


@pytest.mark.parametrize("options", [JobOptions(num_speakers=1), JobOptions(max_speakers=1)])
def test_the_number_of_speakers_can_be_given(diarizer: Diarizer, options: JobOptions) -> None:
    told = diarizer.diarize(str(sample().path), options=options)
    assert {turn.speaker for turn in told.diarization.turns} == {"SPEAKER_00"}


@pytest.mark.parametrize("duration_s", [0.05, 1.0, 30.0])
def test_silence_has_no_turns(diarizer: Diarizer, duration_s: float, tmp_path: Path) -> None:
    told = diarizer.diarize(str(write_wav(tmp_path / "silence.wav", silence(duration_s))))
    assert told.diarization.turns == ()


def test_an_architecture_file_that_was_changed_is_never_run(models_dir: Path, tmp_path: Path) -> None:
    alias = pulled(DEFAULT_MODELS["diarize"], models_dir)
    folder = tmp_path / alias
    folder.mkdir()
    for file in (models_dir / alias).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with (folder / "camplusplus.py").open("a") as stream:
        stream.write("\nraise SystemExit('changed code ran')\n")
    with pytest.raises(PipelineError) as caught:
        Diarizer(tmp_path, alias)
    assert caught.value.code == "model.corrupt"
