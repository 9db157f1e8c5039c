import itertools
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.attribution import _cheapest, attribute
from shared.transcript import NO_SPEECH, Diarization, Recognition, Segment, Transcript, Turn, Word

A, B, C = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text=f" {text}", start_s=start_s, end_s=end_s, probability=0.9)


def segment(*words: Word) -> Segment:
    return Segment(start_s=words[0].start_s, end_s=words[-1].end_s, words=words)


def recognition(*segments: Segment) -> Recognition:
    return Recognition(language="en", duration_s=60.0, segments=segments, model="tiny")


def turns(*rows: tuple[str, float, float]) -> Diarization:
    found = tuple(Turn(speaker=speaker, start_s=start_s, end_s=end_s) for speaker, start_s, end_s in rows)
    return Diarization(duration_s=60.0, turns=found, model="pyannote")


def said(transcript: Transcript) -> list[tuple[str | None, str]]:
    return [(piece.speaker, piece.text.strip()) for piece in transcript.segments]


def evenly(text: str, start_s: float = 0.0, step_s: float = 0.5) -> Segment:
    """Words that last 0.4 s, one every half second."""
    return segment(
        *(word(one, start_s + i * step_s, start_s + i * step_s + step_s * 0.8) for i, one in enumerate(text.split()))
    )


@st.composite
def _recognitions(draw: st.DrawFn) -> Recognition:
    segments = []
    for _ in range(draw(st.integers(0, 6))):
        words = []
        for _ in range(draw(st.integers(0, 8))):
            start_s = draw(st.floats(0, 40))
            length_s = draw(st.sampled_from([0.0, 0.02, 0.3, 0.9, 7.0]))
            text = draw(st.sampled_from([" yes", " no.", " well,", "。", "", " \n", " “so?”"]))
            words.append(Word(text=text, start_s=start_s, end_s=start_s + length_s, probability=draw(st.floats(0, 1))))
        segments.append(Segment(start_s=0.0, end_s=40.0, words=tuple(words)))
    return recognition(*segments)


_TURNS = st.lists(
    st.tuples(st.sampled_from([A, B, C]), st.floats(0, 40), st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0])), max_size=12
).map(lambda rows: turns(*((speaker, start_s, start_s + length_s) for speaker, start_s, length_s in rows)))


def _bare(words: tuple[Word, ...]) -> list[tuple[str, float, float, float]]:
    return [(one.text, one.start_s, one.end_s, one.probability) for one in words]


@given(_recognitions(), st.none() | _TURNS)
@example(recognition(), turns())
@settings(deadline=None)
def test_every_word_survives_and_every_segment_has_one_speaker(heard: Recognition, who: Diarization | None) -> None:
    transcript = attribute(heard, who)

    assert _bare(transcript.words) == [row for piece in heard.segments for row in _bare(piece.words)]
    for piece in transcript.segments:
        assert piece.words
        assert {one.speaker for one in piece.words} == {piece.speaker}
        assert piece.text == "".join(one.text for one in piece.words)
    anyone = any(turn.end_s > turn.start_s for turn in who.turns) if who else False
    assert all((piece.speaker is not None) == anyone for piece in transcript.segments)
    assert transcript.turns == (who.turns if who else ())
    assert transcript.notices == (() if transcript.words else (NO_SPEECH,))


@given(_recognitions(), _TURNS)
@settings(deadline=None)
def test_whoever_alone_covers_most_of_a_word_gets_it(heard: Recognition, who: Diarization) -> None:
    for one in attribute(heard, who).words:
        if one.end_s - one.start_s < 0.05:
            continue
        # Turns of one speaker may overlap here; those would count twice.
        covered = {
            speaker: sum(
                max(0.0, min(one.end_s, (i + 1) / 100) - max(one.start_s, i / 100))
                for i in range(int(one.start_s * 100), int(one.end_s * 100) + 1)
                if any(t.speaker == speaker and t.start_s <= (i + 0.5) / 100 < t.end_s for t in who.turns)
            )
            for speaker in {turn.speaker for turn in who.turns}
        }
        near = {t.speaker for t in who.turns if t.start_s < one.end_s + 0.02 and t.end_s > one.start_s - 0.02}
        share = covered.get(next(iter(near)), 0.0) / min(1.0, one.end_s - one.start_s) if len(near) == 1 else 0.0
        if share > 0.6:
            assert one.speaker in near


@given(
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 3), st.integers(-3, 9), min_size=1), st.integers(0, 5)),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None)
def test_no_other_sequence_of_speakers_is_cheaper(rows: list[tuple[dict[int, int], int]]) -> None:
    costs, switches = [row[0] for row in rows], [row[1] for row in rows]

    def total(path: tuple[int, ...]) -> int:
        changes = sum(switches[i] for i in range(1, len(path)) if path[i] != path[i - 1])
        return changes + sum(cost[number] for cost, number in zip(costs, path, strict=True))

    assert total(tuple(_cheapest(costs, switches))) == min(map(total, itertools.product(*costs)))


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    transcript = attribute(recognition(evenly("one two. three four")), turns((A, 0.0, 0.95), (B, 0.95, 2.0)))

    assert said(transcript) == [(A, "one two."), (B, "three four")]
    assert [(piece.start_s, piece.end_s) for piece in transcript.segments] == [(0.0, 0.9), (1.0, 1.9)]


def test_a_segment_of_one_speaker_keeps_its_times() -> None:
    whole = Segment(start_s=0.0, end_s=5.0, words=(word("one", 1.0, 2.0),))

    (piece,) = attribute(recognition(whole), turns((A, 0.0, 9.0))).segments

    assert (piece.start_s, piece.end_s) == (0.0, 5.0)


def test_in_overlapping_turns_whoever_was_speaking_goes_on() -> None:
    transcript = attribute(
        recognition(evenly("one two three four five six")), turns((A, 0.0, 2.0), (B, 0.9, 3.0), (C, 0.6, 0.9))
    )

    assert said(transcript) == [(A, "one two three four"), (B, "five six")]


def test_a_sentence_that_is_a_turn_of_its_own_is_not_swallowed_by_a_longer_one() -> None:
    heard = recognition(evenly("so we went there."), evenly("Right.", 2.0), evenly("and came back.", 2.5))

    transcript = attribute(heard, turns((A, 0.0, 4.0), (B, 1.95, 2.45)))

    assert said(transcript) == [(A, "so we went there."), (B, "Right."), (A, "and came back.")]


def test_a_word_amid_a_sentence_stays_when_another_speaker_is_heard_as_well() -> None:
    transcript = attribute(recognition(evenly("so we really went there.")), turns((A, 0.0, 4.0), (B, 0.95, 1.45)))

    assert said(transcript) == [(A, "so we really went there.")]


def test_an_interjection_amid_a_sentence_is_heard() -> None:
    transcript = attribute(
        recognition(evenly("so we yeah went there")), turns((A, 0.0, 0.95), (B, 0.95, 1.45), (A, 1.45, 3.0))
    )

    assert said(transcript) == [(A, "so we"), (B, "yeah"), (A, "went there")]


def test_an_interjection_whose_turn_is_a_little_short_is_heard() -> None:
    transcript = attribute(
        recognition(segment(word("so", 0.0, 1.0), word("yeah", 1.0, 1.5), word("went", 1.5, 2.5))),
        turns((A, 0.0, 1.1), (B, 1.1, 1.5), (A, 1.5, 3.0)),
    )

    assert said(transcript) == [(A, "so"), (B, "yeah"), (A, "went")]


def test_a_word_stretched_over_a_pause_goes_to_whoever_overlaps_it_most() -> None:
    heard = recognition(segment(word("and", 6.2, 6.6), word("well.", 6.68, 9.68), word("Yes", 9.7, 10.0)))

    transcript = attribute(heard, turns((A, 6.0, 7.12), (B, 7.55, 8.35), (B, 9.7, 10.0)))

    assert said(transcript) == [(A, "and"), (B, "well. Yes")]


def test_weak_evidence_does_not_flip_one_word() -> None:
    # "went" is covered 0.2 s by each, a hair more by B.
    transcript = attribute(
        recognition(evenly("so we went there")), turns((A, 0.0, 1.19), (B, 1.19, 1.42), (A, 1.42, 3.0))
    )

    assert said(transcript) == [(A, "so we went there")]


def test_a_boundary_that_is_a_little_off_moves_to_the_end_of_the_sentence() -> None:
    # B's turn begins within the last word of A's sentence and covers a little more than half of it.
    transcript = attribute(recognition(evenly("that is it. No way")), turns((A, 0.0, 1.18), (B, 1.18, 3.0)))

    assert said(transcript) == [(A, "that is it."), (B, "No way")]


@pytest.mark.parametrize(("start_s", "expected"), [(3.0, A), (5.9, B), (20.0, B), (4.45, A)])
def test_a_word_in_no_turn_goes_to_the_nearest(start_s: float, expected: str) -> None:
    transcript = attribute(
        recognition(segment(word("eh", start_s, start_s + 0.1))), turns((A, 0.0, 2.0), (B, 7.0, 9.0))
    )

    assert said(transcript) == [(expected, "eh")]


def test_a_word_in_no_turn_stays_with_its_sentence() -> None:
    heard = recognition(segment(word("we", 0.0, 0.4), word("did.", 0.65, 0.95), word("Did", 1.1, 1.4)))

    transcript = attribute(heard, turns((A, 0.0, 0.5), (B, 1.05, 2.0)))

    assert said(transcript) == [(A, "we did."), (B, "Did")]


def test_words_without_length_are_attributed() -> None:
    heard = recognition(segment(word("we", 1.0, 1.0), word("did.", 1.5, 1.5), word("Did", 2.5, 2.5)))

    assert said(attribute(heard, turns((A, 0.0, 2.0), (B, 2.0, 3.0)))) == [(A, "we did."), (B, "Did")]


def test_without_diarization_nobody_is_named() -> None:
    transcript = attribute(recognition(evenly("one two"), evenly("three", 5.0)), None)

    assert said(transcript) == [(None, "one two"), (None, "three")]
    assert (transcript.speakers, transcript.turns, transcript.models) == ((), (), {"transcribe": "tiny"})


def test_speakers_are_listed_by_first_appearance_with_what_they_said() -> None:
    transcript = attribute(recognition(evenly("one")), turns((B, 3.0, 4.5), (A, 0.0, 1.0), (B, 2.5, 3.25)))

    assert [(one.speaker, one.speech_s) for one in transcript.speakers] == [(A, 1.0), (B, 2.25)]
    assert transcript.models == {"transcribe": "tiny", "diarize": "pyannote"}
    assert transcript.duration_s == 60.0


def test_no_words_is_a_notice_and_keeps_the_turns() -> None:
    transcript = attribute(recognition(), turns((A, 0.0, 1.0)))

    assert transcript.notices == (NO_SPEECH,)
    assert [turn.speaker for turn in transcript.turns] == [A]


def test_ten_hours_take_seconds() -> None:
    rng = random.Random(7)
    segments, rows, now_s = [], [], 0.0
    for _ in range(8_000):
        piece = evenly(" ".join(["word"] * 11 + ["end."]), now_s, 0.36)
        segments.append(piece)
        rows.append((f"SPEAKER_{rng.randrange(12):02d}", piece.start_s - rng.random(), piece.end_s + rng.random()))
        now_s = piece.end_s + 0.2
    heard, who = recognition(*segments), turns(*rows)

    began_s = time.process_time()
    transcript = attribute(heard, who)
    took_s = time.process_time() - began_s

    assert len(transcript.words) == 96_000
    assert took_s < 6.0, f"{took_s:.1f} s"
