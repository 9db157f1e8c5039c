"""New words on old times, and the other changes of a transcript; what the difference of two versions says of them."""

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.exports import FORMATS, render
from shared.differences import difference
from shared.editing import Edit, edited, merged, named
from shared.errors import PipelineError
from shared.transcript import Segment, Transcript, Word
from tests.transcripts import SPEAKERS, TEXTS, said, transcripts

TEXT = "The quick brown fox jumps over the lazy dog."


def times(transcript: Transcript) -> dict[str, tuple[float, float]]:
    return {word.text.strip(): (word.start_s, word.end_s) for word in transcript.words}


def rewritten(transcript: Transcript, text: str, segment: int = 0) -> Transcript:
    return edited(transcript, [Edit(segment=segment, text=text)])


def test_words_that_stay_keep_their_times_and_probability() -> None:
    before = said(TEXT)
    after = rewritten(before, "The quick red fox leapt high over the dog.")
    assert after.text == "The quick red fox leapt high over the dog."
    was, now = times(before), times(after)
    for word in ("The", "quick", "fox", "over", "the", "dog."):
        assert now[word] == was[word]
    assert now["red"] == was["brown"]
    assert {word.text.strip(): word.probability for word in after.words}["fox"] == 0.5
    assert {word.text.strip(): word.probability for word in after.words}["red"] == 1.0


def test_what_replaces_several_words_shares_their_time_by_length() -> None:
    before = said(TEXT)
    after = times(rewritten(before, "The quick a wolverine over the lazy dog."))
    start_s, end_s = times(before)["brown"][0], times(before)["jumps"][1]
    assert after["a"][0] == start_s and after["wolverine"][1] == end_s
    assert after["a"][1] == after["wolverine"][0] == pytest.approx(start_s + (end_s - start_s) / 10, abs=0.001)


def test_spelling_and_punctuation_do_not_move_a_word() -> None:
    before = said("so we met doctor strange there and then")
    after = rewritten(before, "So, we met Dr. Strange there and then.")
    assert [(word.start_s, word.end_s) for word in after.words] == [(w.start_s, w.end_s) for w in before.words]
    more = rewritten(before, "So we met Doctor Stephen Vincent Strange there, and then")
    was, now = times(before), times(more)
    assert (now["Doctor"], now["Strange"], now["then"]) == (was["doctor"], was["strange"], was["then"])


def test_inserted_words_take_the_pause_before_the_next_word() -> None:
    before = said("yes | no")
    after = times(rewritten(before, "yes but no"))
    gap = (times(before)["yes"][1], times(before)["no"][0])
    assert after["but"] == (gap[0], pytest.approx(gap[0] + 0.21))
    first = rewritten(said("A: yes", "B: | no"), "oh no", segment=1)
    assert first.segments[1].start_s == first.words[1].start_s
    assert first.words[1].end_s == first.words[2].start_s  # right before what it belongs to
    tight = rewritten(said("yes no", pause_s=0.0), "yes but no")
    assert tight.words[1].start_s == tight.words[1].end_s == tight.words[0].end_s


def test_words_by_number_are_replaced_inserted_and_removed() -> None:
    before = said("one two three", "four five six")
    assert edited(before, [Edit(first_word=1, word_count=2, text="2")]).text == "one 2 four five six"
    assert edited(before, [Edit(first_word=4, text="4a 4b")]).text == "one two three four 4a 4b five six"
    assert edited(before, [Edit(first_word=3, text="then")]).segments[1].text == " then four five six"
    assert edited(before, [Edit(first_word=6, text="end")]).text == "one two three four five six end"
    assert edited(before, [Edit(first_word=0, word_count=1, text="")]).text == "two three four five six"
    gone = edited(before, [Edit(segment=0, text=" ")])
    assert (len(gone.segments), gone.text) == (1, "four five six")
    several = [
        Edit(first_word=5, text="and"),
        Edit(first_word=0, word_count=1, text="1"),
        Edit(segment=1, speaker=SPEAKERS[1]),
    ]
    assert edited(before, several).text == "1 two three four five and six"


def test_the_first_word_of_a_trimmed_segment_gets_its_space() -> None:
    words = tuple(Word(text=text, start_s=n, end_s=n + 0.5, probability=1.0) for n, text in enumerate(("one", " two")))
    before = Transcript(duration_s=3.0, segments=(Segment(start_s=0.0, end_s=2.0, words=words),))
    assert edited(before, [Edit(first_word=0, text="zero")]).segments[0].text == "zero one two"
    assert rewritten(before, "two").segments[0].text == "two"
    assert rewritten(before, "zero one two").words[1].start_s == 0.0


def test_scripts_without_spaces_keep_their_words() -> None:
    parts = ("今日", "は", "東京", "に", "行く", "。")
    words = tuple(Word(text=text, start_s=n, end_s=n + 1.0, probability=0.5) for n, text in enumerate(parts))
    before = Transcript(duration_s=9.0, segments=(Segment(start_s=0.0, end_s=6.0, words=words),))
    after = rewritten(before, "今日は大阪に行く。")
    assert [word.text for word in after.words] == ["今日", "は", "大", "阪", "に", "行く", "。"]
    assert [word.start_s for word in after.words] == [0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "edits",
    [
        [{"segment": 2, "text": "x"}],
        [{"segment": 2, "speaker": SPEAKERS[0]}],
        [{"first_word": 2, "word_count": 2, "text": "x"}],
        [{"first_word": 6, "word_count": 1, "text": "x"}],
        [{"first_word": 7, "text": "x"}],
        [{"segment": 0, "text": "x"}, {"first_word": 1, "word_count": 1, "text": "y"}],
        [{"first_word": 1, "text": "x"}, {"first_word": 1, "text": "y"}],
        [{"segment": 0, "speaker": SPEAKERS[0]}, {"segment": 0, "speaker": SPEAKERS[1]}],
    ],
)
def test_places_that_are_not_there_or_edited_twice_are_refused(edits: list[dict[str, object]]) -> None:
    with pytest.raises(PipelineError, match=r"transcript\.no_such_place"):
        edited(said("one two three", "four five six"), [Edit(**edit) for edit in edits])


@pytest.mark.parametrize(
    "edit",
    [
        {},
        {"text": "x"},
        {"segment": 0},
        {"segment": 0, "first_word": 0, "text": "x"},
        {"segment": 0, "word_count": 1, "text": "x"},
        {"first_word": 0, "speaker": SPEAKERS[0]},
        {"segment": 0, "speaker": "Ada"},
        {"segment": 0, "text": "x" * 2001},
    ],
)
def test_edits_that_mean_nothing_are_refused(edit: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Edit(**edit)


def test_a_segment_is_given_to_another_speaker_with_its_turn() -> None:
    before = said("A: one two", "A: three", "B: four")
    after = edited(before, [Edit(segment=1, speaker="SPEAKER_02")])
    assert [segment.speaker for segment in after.segments] == ["SPEAKER_00", "SPEAKER_02", "SPEAKER_01"]
    assert {word.speaker for word in after.segments[1].words} == {"SPEAKER_02"}
    assert {one.speaker: one.speech_s for one in after.speakers} == {
        "SPEAKER_00": 0.65,
        "SPEAKER_01": 0.3,
        "SPEAKER_02": 0.3,
    }
    assert "SPEAKER_02" in render(after, "rttm")
    found = difference(before, after)
    assert [(c.before, c.after, c.words.text) for c in found.speakers] == [("SPEAKER_00", "SPEAKER_02", "three")]
    assert [(name.speaker, name.is_new) for name in found.names] == [("SPEAKER_02", True)] and not found.words


def test_a_turn_over_several_segments_is_split() -> None:
    before = said("A: one two", "A: three", "A: four")
    whole = before.turns[0].model_copy(update={"end_s": before.turns[2].end_s})
    before = before.model_copy(update={"turns": (whole,)})
    after = edited(before, [Edit(segment=1, speaker="SPEAKER_01")])
    assert [turn.speaker for turn in after.turns] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert sum(turn.end_s - turn.start_s for turn in after.turns) == pytest.approx(whole.end_s - whole.start_s)
    assert all(left.end_s == right.start_s for left, right in pairwise(after.turns))


def test_names_and_merged_speakers_are_in_every_export() -> None:
    before = said("A: one", "B: two", "C: three")
    after = merged(
        named(before, "SPEAKER_01", "Grace Hopper"), ["SPEAKER_01", "SPEAKER_02", "SPEAKER_00"], "SPEAKER_00"
    )
    assert [(one.speaker, one.name, one.speech_s) for one in after.speakers] == [("SPEAKER_00", "Grace Hopper", 0.9)]
    assert {segment.speaker for segment in after.segments} == {turn.speaker for turn in after.turns} == {"SPEAKER_00"}
    for name in set(FORMATS) - {"ctm", "srt"}:  # which have no speakers, or none where there is but one
        text = render(after, name)
        assert "Grace" in text and "SPEAKER_01" not in text
    assert "Grace Hopper: one" in render(named(before, "SPEAKER_00", "Grace Hopper"), "srt")
    assert named(after, "SPEAKER_00", None).speakers[0].label == "SPEAKER_00"
    for refused in (lambda: named(before, "x", "y"), lambda: merged(before, ["SPEAKER_09"], "SPEAKER_00")):
        with pytest.raises(PipelineError, match=r"transcript\.no_such_speaker"):
            refused()


def test_the_difference_says_which_words_became_which() -> None:
    before = said("one two three four five", "six seven")
    after = edited(
        before,
        [
            Edit(first_word=1, word_count=1, text="2 2b"),
            Edit(first_word=4, word_count=1, text=""),
            Edit(first_word=6, text="then"),
        ],
    )
    found = difference(before, after).words
    assert [(c.kind, c.before.text, c.after.text) for c in found] == [
        ("replaced", "two", "2 2b"),
        ("removed", "five", ""),
        ("inserted", "", "then"),
    ]
    assert (found[0].before.start_s, found[0].before.end_s) == (before.words[1].start_s, before.words[1].end_s)
    assert (found[0].after.first_word, found[0].after.word_count) == (1, 2)
    assert found[1].after.start_s is None
    assert difference(before, before).words == ()


_NEW = st.lists(st.sampled_from([*TEXTS, "new", "words,", "neu"]), max_size=12)


@st.composite
def _edits(draw: st.DrawFn, transcript: Transcript) -> list[Edit]:
    """Edits of different segments, some of old words and some of new."""
    edits = []
    offset = 0
    for number, segment in enumerate(transcript.segments):
        count = len(segment.words)
        old = [word.text.strip() for word in segment.words]
        kept = draw(st.lists(st.integers(0, count - 1), unique=True).map(sorted))
        text = " ".join([*draw(_NEW)[:3], *(old[n] for n in kept), *draw(_NEW)])
        match draw(st.integers(0, 3)):
            case 0:
                edits.append(Edit(segment=number, text=text))
            case 1:
                first = draw(st.integers(0, count - 1))
                size = draw(st.integers(0, count - first))
                edits.append(Edit(first_word=offset + first, word_count=size, text=text))
            case 2:
                edits.append(Edit(segment=number, speaker=draw(st.sampled_from(["SPEAKER_00", "SPEAKER_07"]))))
        offset += count
    return edits


@given(st.data())
def test_whatever_is_edited_times_keep_their_order_and_words_that_stay_their_times(data: st.DataObject) -> None:
    before = data.draw(transcripts(blanks=False, max_segments=4))
    edits = data.draw(_edits(before))
    after = edited(before, edits)
    Transcript.from_json(after.to_json())
    for left, right in pairwise(after.words):
        assert left.start_s <= right.start_s
    for word in after.words:
        assert word.start_s <= word.end_s
        assert word.start_s >= 0.0
    last_s = max([before.duration_s, *(word.end_s for word in before.words)])
    assert all(word.end_s <= last_s for word in after.words)
    for segment in after.segments:
        assert segment.text == "".join(word.text for word in segment.words)
        assert segment.start_s <= segment.words[0].start_s
        assert segment.end_s >= segment.words[-1].end_s
        assert {word.speaker for word in segment.words} <= {segment.speaker}
    touched = {edit.segment for edit in edits if edit.segment is not None}
    offset = 0
    for number, segment in enumerate(before.segments):
        here = [e for e in edits if e.first_word is not None and offset <= e.first_word < offset + len(segment.words)]
        if number not in touched and not here:
            assert segment in after.segments
        for edit in here:  # words of the segment that are not replaced
            first = edit.first_word - offset
            for word in (*segment.words[: max(0, first)], *segment.words[first + max(1, edit.word_count) :]):
                assert word in after.words
        offset += len(segment.words)
    for name in ("srt", "ctm", "textgrid"):
        render(after, name)


@given(transcripts(blanks=False, max_segments=4), st.data())
def test_new_text_is_what_stands_there(before: Transcript, data: st.DataObject) -> None:
    if not before.segments:
        return
    number = data.draw(st.integers(0, len(before.segments) - 1))
    text = " ".join(data.draw(_NEW))
    after = edited(before, [Edit(segment=number, text=text)])
    if text:
        assert after.segments[number].text.strip() == " ".join(text.split())
    else:
        assert len(after.segments) == len(before.segments) - 1


@given(transcripts(blanks=False, max_segments=4))
def test_the_same_text_changes_nothing(before: Transcript) -> None:
    spaced = any(word.text[:1].isspace() for segment in before.segments for word in segment.words[1:])
    for number, segment in enumerate(before.segments):
        if spaced and all(word.text[:1].isspace() for word in segment.words[1:]) and "\n" not in segment.text:
            assert edited(before, [Edit(segment=number, text=segment.text)]) == before


@given(st.data())
def test_the_difference_leads_from_one_version_to_the_other(data: st.DataObject) -> None:
    before = data.draw(transcripts(blanks=False, max_segments=4))
    after = edited(before, data.draw(_edits(before)))
    found = difference(before, after)
    old = [(word.text.strip(), word.start_s, word.end_s) for word in before.words]
    new = [(word.text.strip(), word.start_s, word.end_s) for word in after.words]
    for change in reversed(found.words):
        was, now = change.before, change.after
        old[was.first_word : was.first_word + was.word_count] = new[now.first_word : now.first_word + now.word_count]
    assert old == new


def test_the_largest_edit_and_the_difference_of_three_hours_take_little_time(tell: Callable[[str], None]) -> None:
    hostile = said(" ".join(["a", "b"] * 250))
    started = time.perf_counter()
    rewritten(hostile, " ".join(["b", "a", "a"] * 330))
    edit_s = time.perf_counter() - started
    long = said(*["It was said, and it was heard by Dr. Smith."] * 3_000)
    changed = edited(long, [Edit(segment=n * 30, text="It was not said, but it was heard.") for n in range(100)])
    started = time.perf_counter()
    found = difference(long, changed)
    tell(f"worst edit {edit_s:.2f} s; difference of 30,000 words {time.perf_counter() - started:.2f} s")
    assert len(found.words) >= 100 and edit_s < 5 and time.perf_counter() - started < 10
