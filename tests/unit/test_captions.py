import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.captions import Caption, captions, disjoint_ms
from shared.options import CaptionRules
from shared.transcript import Segment, Speaker, Transcript, Word

RULES = CaptionRules()
SPEAKERS = (Speaker(speaker="SPEAKER_00"), Speaker(speaker="SPEAKER_01"))


def transcript(*segments: Segment, duration_s: float = 1000.0) -> Transcript:
    return Transcript(duration_s=duration_s, segments=segments, speakers=SPEAKERS)


def segment(words: list[Word], speaker: str | None = None) -> Segment:
    return Segment(start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words), speaker=speaker)


def spoken(
    text: str, start_s: float = 0.0, speaker: str | None = None, word_s: float = 0.3, glue: str = " "
) -> Segment:
    parts = text.split(glue) if glue else list(text)
    return segment(
        [
            Word(text=glue + part, start_s=start_s + i * word_s, end_s=start_s + (i + 1) * word_s, probability=1.0)
            for i, part in enumerate(parts)
        ],
        speaker,
    )


def texts(found: tuple[Caption, ...]) -> list[str]:
    return [" / ".join(caption.lines) for caption in found]


_PARTS = st.sampled_from(
    [
        "a",
        "word",
        "Well,",
        "end.",
        "counterrevolutionaries",
        "x" * 60,
        "ja\nnein",
        "日本",
        "。",
        "ไทย",
        "-year",
        "é",
        "!",
    ]
)


@st.composite
def _transcripts(draw: st.DrawFn) -> Transcript:
    segments, now_s = [], 0.0
    for _ in range(draw(st.integers(0, 5))):
        words = []
        for _ in range(draw(st.integers(1, 25))):
            now_s += draw(st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.4, 2.0, -0.3]))
            length_s = draw(st.sampled_from([0.0, 0.1234567, 0.3, 0.3, 1.0, 9.0]))
            text = draw(st.sampled_from([" ", " ", ""])) + draw(_PARTS) + draw(st.sampled_from(["", "", " "]))
            words.append(Word(text=text, start_s=max(0.0, now_s), end_s=max(0.0, now_s) + length_s, probability=1.0))
            now_s += length_s
        segments.append(segment(words, draw(st.sampled_from([None, "SPEAKER_00", "SPEAKER_01"]))))
    return transcript(*segments, duration_s=now_s)


_RULES = st.builds(
    CaptionRules,
    max_line_characters=st.integers(10, 60),
    max_lines=st.integers(1, 4),
    min_duration_s=st.sampled_from([0.0, 0.5, 1.0]),
    max_duration_s=st.sampled_from([1.0, 3.0, 7.0]),
    max_gap_s=st.sampled_from([0.1, 1.5]),
)


def _visible(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(_transcripts(), _RULES)
@settings(max_examples=150, deadline=None)
def test_the_limits_hold_and_no_word_is_lost(source: Transcript, rules: CaptionRules) -> None:
    found = captions(source, rules)

    assert _visible("".join("".join(caption.lines) for caption in found)) == _visible(source.text)
    words = {re.sub(r"\s+", " ", word.text).strip() for word in source.words}
    longest_s = max([word.end_s - word.start_s for word in source.words], default=0.0)
    for caption in found:
        assert caption.start_s < caption.end_s
        assert 1 <= len(caption.lines) <= rules.max_lines
        for line in caption.lines:
            assert line == line.strip() != ""
            assert len(line) <= rules.max_line_characters or line in words
        if caption.end_s - caption.start_s > rules.max_duration_s + 0.0005:
            assert " ".join(caption.lines) in words
            assert caption.end_s - caption.start_s <= longest_s + 0.0011
    for earlier, later in pairwise(found):
        assert earlier.end_s <= later.start_s
    assert found == captions(source, rules)


@given(_transcripts(), _RULES)
@settings(deadline=None)
def test_a_caption_has_one_speaker(source: Transcript, rules: CaptionRules) -> None:
    by_speaker: dict[str | None, str] = {}
    for piece in source.segments:
        by_speaker[piece.speaker] = by_speaker.get(piece.speaker, "") + _visible(piece.text)
    shown: dict[str | None, str] = {}
    for caption in captions(source, rules):
        shown[caption.speaker] = shown.get(caption.speaker, "") + _visible("".join(caption.lines))

    assert shown == {speaker: text for speaker, text in by_speaker.items() if text}


def test_a_sentence_that_fits_is_one_caption_on_one_line() -> None:
    (caption,) = captions(transcript(spoken("The quick brown fox jumps over the dog.")), RULES)

    assert caption.lines == ("The quick brown fox jumps over the dog.",)
    assert (caption.start_s, caption.end_s) == (0.0, 2.4)


def test_lines_are_balanced_and_break_at_clauses() -> None:
    long = "When the rain had stopped, we walked home by the river."
    even = "Nobody knows exactly how many people were living there"

    assert texts(captions(transcript(spoken(long)), RULES)) == [
        "When the rain had stopped, / we walked home by the river."
    ]
    ((first, second),) = (caption.lines for caption in captions(transcript(spoken(even, word_s=0.2)), RULES))
    assert abs(len(first) - len(second)) < 10


def test_captions_end_where_sentences_end() -> None:
    text = (
        "We began early in the morning and worked until noon. After that it rained for hours and nothing could be "
        "done. So we went home."
    )

    found = captions(transcript(spoken(text, word_s=0.2)), RULES)

    assert [caption.lines[-1].split()[-1] for caption in found] == ["noon.", "home."]


def test_what_has_to_be_cut_amid_a_sentence_is_cut_evenly() -> None:
    text = "nobody knows exactly how many people were living there when those great floods came down upon them"

    found = captions(transcript(spoken(text, word_s=0.2)), RULES)

    assert len(found) == 2
    assert min(sum(map(len, caption.lines)) for caption in found) > 30


def test_a_cut_amid_a_sentence_is_made_at_a_pause() -> None:
    words = "nobody knows exactly how many people were living there when those great floods came down upon them all"
    before, after = words[:33].rstrip(), words[33:].strip()

    found = captions(transcript(spoken(before, word_s=0.2), spoken(after, 1.8, word_s=0.2)), RULES)

    assert captions(transcript(spoken(words, word_s=0.2)), RULES)[0].lines[-1].split()[-1] != before.split()[-1]
    assert found[0].lines[-1].split()[-1] == before.split()[-1]


def test_a_caption_is_not_cut_too_short_to_be_read() -> None:
    # Three sentences, of which either the first two or the last two fit; the first alone lasts less than a second.
    text = "Nobody there knew about that. And so the town, it had no rain. Not until then came snow,"

    found = captions(transcript(spoken(text, word_s=0.15)), RULES)

    assert [caption.lines[-1].split()[-1] for caption in found] == ["rain.", "snow,"]


def test_a_new_speaker_starts_a_new_caption() -> None:
    source = transcript(spoken("Well,", 0.0, "SPEAKER_00"), spoken("no.", 0.3, "SPEAKER_01"))

    assert [(one.speaker, one.lines, one.end_s) for one in captions(source, RULES)] == [
        ("SPEAKER_00", ("Well,",), 0.3),
        ("SPEAKER_01", ("no.",), 1.3),
    ]


def test_a_long_pause_starts_a_new_caption_and_a_short_one_does_not() -> None:
    pause = transcript(spoken("And then"), spoken("he left.", 2.2))
    brief = transcript(spoken("And then"), spoken("he left.", 2.0))

    assert texts(captions(pause, RULES)) == ["And then", "he left."]
    assert texts(captions(brief, RULES)) == ["And then he left."]


@pytest.mark.parametrize(("next_s", "end_s"), [(5.0, 1.0), (0.8, 0.8), (0.3, 0.3)])
def test_a_short_caption_is_held_while_there_is_room(next_s: float, end_s: float) -> None:
    source = transcript(spoken("Yes.", 0.0, "SPEAKER_00"), spoken("No.", next_s, "SPEAKER_01"))

    assert captions(source, RULES)[0].end_s == end_s


def test_the_last_caption_is_not_held_beyond_the_end_of_the_media() -> None:
    assert captions(transcript(spoken("Yes."), duration_s=0.5), RULES)[0].end_s == 0.5


def test_slow_speech_is_cut_at_the_longest_duration() -> None:
    found = captions(transcript(spoken("one two three four five six", word_s=2.0)), RULES)

    assert texts(found) == ["one two three", "four five six"]


def test_a_word_longer_than_a_line_stands_alone() -> None:
    word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"

    (caption,) = captions(transcript(spoken(f"Das {word}")), RULES)

    assert caption.lines == ("Das", word)


def test_a_segment_without_leading_space_is_parted_from_the_one_before() -> None:
    first, second = spoken("He left."), spoken("She stayed on.", 0.6)
    trimmed = second.words[0].model_copy(update={"text": "She"})

    found = captions(transcript(first, segment([trimmed, *second.words[1:]])), RULES)

    assert texts(found) == ["He left. She stayed on."]


def test_languages_without_spaces_break_between_words_but_not_before_a_full_stop() -> None:
    text = "昨日は雨が降っていたので家で本を読んでいました。今日は天気がいいので散歩に行きます。"

    found = captions(transcript(spoken(text, glue="", word_s=0.1)), CaptionRules(max_line_characters=16))

    assert "".join("".join(caption.lines) for caption in found) == text
    assert all(line[0] not in "。、" for caption in found for line in caption.lines)
    assert found[0].lines[-1].endswith("。")


def test_what_is_written_together_stays_together() -> None:
    words = "a twenty-year plan that nobody at all had wanted".replace("-", " -").split()
    source = segment(
        [
            Word(text=("" if word[0] == "-" else " ") + word, start_s=i * 0.3, end_s=i * 0.3 + 0.3, probability=1.0)
            for i, word in enumerate(words)
        ]
    )

    for width in range(12, 43):
        found = captions(transcript(source), CaptionRules(max_line_characters=width))
        assert any("twenty-year" in line for caption in found for line in caption.lines), width


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=20), st.integers(0, 100))
@settings(deadline=None)
def test_disjoint_spans_follow_each_other(rows: list[tuple[int, int]], hold_ms: int) -> None:
    spans = [(start_ms, start_ms + length_ms) for start_ms, length_ms in rows]

    found = disjoint_ms(spans, 2, hold_ms, 900)

    assert all(end_ms - start_ms >= 2 for start_ms, end_ms in found)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
    if all(earlier[1] + hold_ms < later[0] for earlier, later in pairwise(spans)):
        assert all(found[i][0] == spans[i][0] and found[i][1] >= spans[i][1] for i in range(len(spans) - 1))
