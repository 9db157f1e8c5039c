import re
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.search import search
from shared.sentences import placed
from shared.transcript import Segment, Transcript, Word
from tests.transcripts import said, transcripts


def places(transcript: Transcript, query: str) -> list[tuple[int, int]]:
    return [(match.first_word, match.word_count) for match in search(transcript, query, limit=1000).matches]


def pieces(*texts: str) -> Transcript:
    words = tuple(Word(text=text, start_s=float(n), end_s=n + 0.5, probability=1.0) for n, text in enumerate(texts))
    return Transcript(duration_s=100.0, segments=(Segment(start_s=0.0, end_s=99.0, words=words),))


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Good morning, good evening", "good", [(0, 1), (2, 1)]),
        ("Good morning, good evening", "GOOD Evening!", [(2, 2)]),
        ("Le café, l'été, à Noël", "CAFE", [(1, 1)]),
        ("Le café, l'été, à Noël", "l\u2019ete a noel", [(2, 3)]),
        ("a well-known thing", "well known", [(1, 1)]),
        ("a well known thing", "well-known", [(1, 2)]),
        ("the part apart", "part", [(1, 1)]),
        ("I don't know", "dont", [(1, 1)]),
        ("It costs 3.14 today", "3,14", [(2, 1)]),
        ("Straße und Łódź, Ørsted", "strasse", [(0, 1)]),
        ("Straße und Łódź, Ørsted", "lodz orsted", [(2, 2)]),
        ("no no no", "no no", [(0, 2), (1, 2)]),
        ("ПРИВЕТ, Ёлка", "привет елка", [(0, 2)]),
        ("मुझे हिन्दी आती है", "हिन्दी", [(1, 1)]),
        ("मुझे हिन्दी आती है", "हन्द", []),
        ("학교에서 만나요", "학교", [(0, 1)]),
        ("السَّلَامُ عليكم", "السلام", [(0, 1)]),
        ("something else", "!?", []),
        ("something else", "some", []),
    ],
)
def test_what_is_found(text: str, query: str, expected: list[tuple[int, int]]) -> None:
    assert places(said(text), query) == expected


def test_in_scripts_without_spaces_words_need_not_be_cut_alike() -> None:
    japanese = pieces("今日", "は", "東京", "都", "に", "行", "く", "。")
    assert places(japanese, "東京都") == [(2, 2)]
    assert places(japanese, "京都") == [(2, 2)]
    assert places(japanese, "都に行く") == [(3, 4)]
    assert places(japanese, "かく") == []
    assert places(pieces("が", "か"), "か") == [(1, 1)]
    assert places(pieces("ภาษา", "ไทย"), "ษาไทย") == [(0, 2)]


def test_a_word_in_several_pieces_is_one_word() -> None:
    assert places(pieces(" un", "believ", "able", " fact"), "unbelievable") == [(0, 3)]
    assert places(pieces(" un", "believ", "able", " fact"), "believ") == []


def test_a_match_says_who_when_and_around_what() -> None:
    transcript = said("A: one two three four five six seven eight nine ten", "B: ten eleven.")
    found = search(transcript, "Ten, ELEVEN")
    match = found.matches[0]
    assert (found.total, match.text, match.first_word, match.word_count) == (1, "ten eleven.", 10, 2)
    assert (match.start_s, match.end_s) == (transcript.words[10].start_s, transcript.words[11].end_s)
    assert (match.before, match.after) == ("three four five six seven eight nine ten", "")
    assert match.speaker == "SPEAKER_01"
    assert search(transcript, "ten ten").matches[0].speaker == "SPEAKER_00"  # who began it


def test_pages_of_matches() -> None:
    transcript = said(" ".join(["no"] * 25))
    pages = [search(transcript, "no", limit=10, skip=skip) for skip in (0, 10, 20)]
    assert [match.first_word for page in pages for match in page.matches] == list(range(25))
    assert {page.total for page in pages} == {25}


def plain(text: str) -> list[str]:
    """The slow and simple way: words of Latin text without accents and apostrophes."""
    bare = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.findall(r"[^\W_]+", bare.lower().replace("'", ""))


LATIN = st.sampled_from(
    ["a", "A,", "b", "é", "E!", "don't", "dont", "a-b", "b.", "3.14", "3", "14", "Über", "...", "-"]
)


@given(st.lists(LATIN, min_size=1, max_size=25), st.lists(LATIN, min_size=1, max_size=3))
def test_it_finds_what_a_naive_search_finds(texts: list[str], wanted: list[str]) -> None:
    heard = [(token, n) for n, text in enumerate(texts) for token in plain(text)]
    query = plain(" ".join(wanted))
    size = len(query)
    expected = [
        (heard[at][1], heard[at + size - 1][1] - heard[at][1] + 1)
        for at in range(len(heard) - size + 1)
        if size and [token for token, _ in heard[at : at + size]] == query
    ]
    assert places(said(" ".join(texts)), " ".join(wanted)) == expected


@given(transcripts(), st.data())
def test_what_is_there_is_found_where_it_is(transcript: Transcript, data: st.DataObject) -> None:
    words = placed(transcript)
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(first + 1, min(len(words), first + 4)))
    before = "".join(word.text for word in words[:first])[-1:]
    after = "".join(word.text for word in words[stop:])[:1]
    text = "".join(word.text for word in words[first:stop])
    if (before + text[:1]).isalnum() or (text[-1:] + after).isalnum() or not any(map(str.isalnum, text)):
        return  # cut out of a longer word, or nothing to look for
    if any(unicodedata.category(one)[0] == "M" for one in before + after + text[:1]):
        return
    found = search(transcript, text.upper(), limit=1000).matches
    assert any(first <= match.first_word and match.first_word + match.word_count <= stop for match in found)
    for match in found:
        assert match.start_s == words[match.first_word].word.start_s


def test_three_hours_are_searched_fast(tell: Callable[[str], None]) -> None:
    transcript = said(*["It was said, and it was heard by Dr. Smith."] * 3_000)
    started = time.perf_counter()
    found = search(transcript, "heard by")
    took_s = time.perf_counter() - started
    tell(f"search: {len(transcript.words)} words in {took_s:.2f} s")
    assert found.total == 3_000 and took_s < 5
