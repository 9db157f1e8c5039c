import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sentences import joined, paragraphs, placed, sentences
from shared.transcript import Segment, Transcript, Word
from tests.transcripts import said, transcripts


def texts(transcript: Transcript) -> list[str]:
    return [sentence.text for sentence in sentences(transcript)]


def unspaced(text: str, pauses: str = "") -> Transcript:
    """Characters right after each other; behind those in ``pauses`` is a silence."""
    words, now_s = [], 0.0
    for one in text:
        words.append(Word(text=one, start_s=now_s, end_s=now_s + 0.1, probability=1.0))
        now_s += 2.2 if one in pauses else 0.1
    return Transcript(duration_s=now_s, segments=(Segment(start_s=0.0, end_s=now_s, words=tuple(words)),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It ends. It goes on! Does it? Yes…", ["It ends.", "It goes on!", "Does it?", "Yes…"]),
        ("Dr. Smith met Mrs. Jones. They spoke.", ["Dr. Smith met Mrs. Jones.", "They spoke."]),
        ("I met J. R. Smith in the U.S. Army.", ["I met J. R. Smith in the U.S. Army."]),
        ("Take plan B. | Then go.", ["Take plan B.", "Then go."]),
        ("He lives in the U.S. | She does not.", ["He lives in the U.S.", "She does not."]),
        ("So do I. Then go.", ["So do I.", "Then go."]),
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("See no. 5 for it. Or fig. 7 there.", ["See no. 5 for it.", "Or fig. 7 there."]),
        ("It was 3.14 and 1,000.5 today. Yes.", ["It was 3.14 and 1,000.5 today.", "Yes."]),
        ("In 1990. Then came peace.", ["In 1990.", "Then came peace."]),
        ("Am 3. Mai war es, z.B. gestern, bzw. heute. Ja.", ["Am 3. Mai war es, z.B. gestern, bzw. heute.", "Ja."]),
        ("At 5 p.m. we left etc. and so on. Fine.", ["At 5 p.m. we left etc. and so on.", "Fine."]),
        ("Apples, pears, etc. | Then more.", ["Apples, pears, etc.", "Then more."]),
        ("“Stop!” he said. “Go.” (So.) She went.", ["“Stop!” he said.", "“Go.”", "(So.)", "She went."]),
        ("Well... maybe. Hm... Maybe not.", ["Well... maybe.", "Hm...", "Maybe not."]),
        ("¿Qué? ¡No! Sí.", ["¿Qué?", "¡No!", "Sí."]),
        ("هل أنت؟ نعم.", ["هل أنت؟", "نعم."]),
        ("यह है। वह था।", ["यह है।", "वह था।"]),
        ("all is small. really small. yes", ["all is small.", "really small.", "yes"]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert texts(said(text)) == expected


def test_scripts_without_spaces() -> None:
    assert texts(unspaced("今日は。明日！「本当？」はい")) == ["今日は。", "明日！", "「本当？」", "はい"]  # noqa: RUF001
    assert texts(unspaced("กขคงจ", pauses="ค")) == ["กขค", "งจ"]


def test_a_sentence_goes_on_over_segments_but_not_over_speakers() -> None:
    assert texts(said("A: It goes", "on and", "ends.", "B: So does", "A: this")) == [
        "It goes on and ends.",
        "So does",
        "this",
    ]


def test_without_punctuation_pauses_and_length_cut() -> None:
    found = sentences(said(" ".join(["word"] * 500)))
    assert 2 <= len(found) <= 4 and max(len(one.text) for one in found) <= 1010
    assert texts(said("no marks | | here")) == ["no marks", "here"]


def test_a_sentence_says_who_when_and_which_words() -> None:
    transcript = said("A: One two.", "B: Three.")
    transcript = transcript.model_copy(
        update={"speakers": (transcript.speakers[0].model_copy(update={"name": "Ada"}), transcript.speakers[1])}
    )
    first, second = sentences(transcript)
    assert (first.speaker, first.label, first.first_word, first.word_count) == ("SPEAKER_00", "Ada", 0, 2)
    assert (second.speaker, second.label, second.first_word, second.word_count) == ("SPEAKER_01", "SPEAKER_01", 2, 1)
    assert (first.start_s, first.end_s) == (0.0, transcript.words[1].end_s)


def test_paragraphs_are_cut_at_speakers_silence_and_length() -> None:
    assert [p.text for p in paragraphs(said("A: Yes. No.", "B: So."))] == ["Yes. No.", "So."]
    assert [p.text for p in paragraphs(said("Yes. | | | No."))] == ["Yes.", "No."]
    long = paragraphs(said(" ".join(["Words and words and more of them."] * 100)))
    assert {len(p.text) // 100 for p in long} <= {4, 5, 6}
    breath = said(" ".join(["Words and words and more of them."] * 10 + ["|"] + ["And then again so many words."] * 10))
    assert [p.sentence_count for p in paragraphs(breath)] == [10, 10]


@given(transcripts())
def test_every_word_is_in_exactly_one_sentence_and_sentences_nest(transcript: Transcript) -> None:
    words = placed(transcript)
    found = sentences(transcript)
    if any(word.text.strip() for word in words):
        covered = [n for one in found for n in range(one.first_word, one.first_word + one.word_count)]
        assert covered == list(range(len(words)))
    else:
        assert found == ()
    for one in found:
        span = words[one.first_word : one.first_word + one.word_count]
        assert one.text == joined(span) and one.text
        assert one.start_s == span[0].word.start_s and one.end_s == max(word.word.end_s for word in span)
        assert {word.speaker for word in span if word.text.strip()} == {one.speaker}
    groups = paragraphs(transcript)
    nested = [n for one in groups for n in range(one.first_sentence, one.first_sentence + one.sentence_count)]
    assert nested == list(range(len(found)))
    for group in groups:
        inside = found[group.first_sentence : group.first_sentence + group.sentence_count]
        assert group.first_word == inside[0].first_word
        assert group.word_count == sum(one.word_count for one in inside)
        assert {one.speaker for one in inside} == {group.speaker}
        assert len(inside) == 1 or len(group.text) <= 1200 + len(inside)


@given(st.lists(st.sampled_from(["Yes.", "And so on,", "Dr.", "no", "3.", "Why?"]), min_size=1, max_size=30))
def test_words_of_one_segment_or_of_many_are_the_same_sentences(parts: list[str]) -> None:
    assert texts(said(" ".join(parts))) == texts(said(*parts))


def test_three_hours_take_little_time(tell: Callable[[str], None]) -> None:
    transcript = said(*["It was said, and it was heard by Dr. Smith."] * 3_000)
    started = time.perf_counter()
    count = len(paragraphs(transcript))
    took_s = time.perf_counter() - started
    tell(f"sentences: {len(transcript.words)} words to {count} paragraphs in {took_s:.2f} s")
    assert took_s < 10
