"""Finding words in a transcript, however they were written: case, accents and punctuation make no difference.

Text is compared as a sequence of tokens: a word, or one character of a script that has no spaces (and of Korean, whose
endings are written together with the word).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from shared.model import Value
from shared.scripts import HANGUL, UNSPACED
from shared.sentences import Placed, joined, placed
from shared.transcript import Transcript

CONTEXT_WORDS = 8

# Accents and vowel points that many leave out; not the marks without which another letter is meant, as in Japanese.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
)
# Written inside words, or invisible.
_IGNORED = re.compile("['\u2019\u02bc\uff07\u00ad\u0640\u200b-\u200d\u2060\ufeff]")
# Letters that Unicode takes apart for nobody.
_LIKES = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})
# Vowel signs of India's scripts, Syriac, Thaana and N'Ko belong to words, though they are no letters.
_SIGNS = "\u0730-\u07ff\u0900-\u0963\u0966-\u0dff"
_TOKEN = re.compile(f"[{UNSPACED}{HANGUL}]|(?:(?![{UNSPACED}{HANGUL}])(?:[^\\W_]|[{_SIGNS}]))+")


class Match(Value):
    """A place where something was found.

    Attributes:
        start_s: Of its first word.
        end_s: Of its last word.
        text: The words found.
        before: Words before them, for context.
        after: Words after them.
        first_word: The first of them, counted through the transcript from 0.
        word_count: How many there are.
    """

    start_s: float
    end_s: float
    speaker: str | None
    label: str | None
    text: str
    before: str
    after: str
    first_word: int
    word_count: int


@dataclass(frozen=True)
class Found:
    """Places where something was found, and how many there are in all."""

    matches: tuple[Match, ...]
    total: int


@lru_cache(maxsize=65_536)
def folded(text: str) -> str:
    """Text without case, accents and what is ignored inside words; the rest of the punctuation stays."""
    apart = unicodedata.normalize("NFKD", _IGNORED.sub("", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", apart)).casefold().translate(_LIKES)


def search(transcript: Transcript, query: str, *, limit: int = 20, skip: int = 0) -> Found:
    """Find a word or a phrase, in order of time.

    Args:
        transcript: Where to look. Phrases may go on from one speaker to the next.
        query: Words that follow each other.
        limit: How many matches to describe.
        skip: How many to leave out before them.

    Returns:
        Nothing for a query without a letter or a digit.
    """
    words = placed(transcript)
    pieces = [folded(word.text) for word in words]
    ends = list(accumulate(map(len, pieces)))
    heard = list(_tokens("".join(pieces)))
    places = _places([text for text, _, _ in heard], [text for text, _, _ in _tokens(folded(query))])
    matches = []
    for first, stop in places[skip : skip + limit]:
        begin, end = heard[first][1], heard[stop - 1][2]
        matches.append(_match(transcript, words, bisect_right(ends, begin), bisect_right(ends, end - 1) + 1))
    return Found(tuple(matches), len(places))


def _tokens(stream: str) -> Iterator[tuple[str, int, int]]:
    """What a folded text consists of, for comparing, and where it begins and ends."""
    for found in _TOKEN.finditer(stream):
        text = found[0]
        if text.isalnum() or unicodedata.category(text[0])[0] in "LNM":
            yield text, found.start(), found.end()


def _places(heard: Sequence[str], wanted: Sequence[str]) -> list[tuple[int, int]]:
    if not wanted:
        return []
    return [
        (at, at + len(wanted))
        for at, token in enumerate(heard)
        if token == wanted[0] and list(heard[at : at + len(wanted)]) == list(wanted)
    ]


def _match(transcript: Transcript, words: Sequence[Placed], first: int, stop: int) -> Match:
    speaker = words[first].speaker
    return Match(
        start_s=words[first].word.start_s,
        end_s=max(word.word.end_s for word in words[first:stop]),
        speaker=speaker,
        label=transcript.label(speaker),
        text=joined(words[first:stop]),
        before=joined(words[max(0, first - CONTEXT_WORDS) : first]),
        after=joined(words[stop : stop + CONTEXT_WORDS]),
        first_word=first,
        word_count=stop - first,
    )
