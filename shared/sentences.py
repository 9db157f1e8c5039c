"""Sentences and paragraphs: a transcript as it is read.

A sentence ends at its punctuation mark. A full stop is one unless an abbreviation, an initial, a number or a small
letter behind it says otherwise; where the text leaves that open, the pause that was heard decides. Paragraphs are cut
for a whole run of sentences at once, by dynamic programming as in Knuth and Plass, "Breaking Paragraphs into Lines"
(1981): near a length that reads well, where the speaker paused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.model import Value
from shared.punctuation import CLOSERS, Stop, stop_after
from shared.scripts import is_unspaced
from shared.transcript import Transcript, Word

# Marks that end a sentence whatever follows, and marks that need a look at what follows.
_CERTAIN = frozenset("。．！？｡؟۔।॥።")  # noqa: RUF001
_UNCERTAIN = frozenset(".!?…")
_OPENERS = "\"'“‘„‚«‹([{¿¡「『（【《〈*-–—"  # noqa: RUF001
# A name follows these, or what they announce; a number follows those; and these may well end a sentence.
_TITLES = re.compile(
    r"mrs?|ms|dr|prof|st|col|lt|sgt|capt|mt|messrs|mme|mlle|hr|fr|sra|srta|dott|dra|vs|cf|e\.g|i\.e|z\.b|d\.h|u\.a|p\.ej|bzw"
)
_BEFORE_NUMBERS = re.compile(r"no|nr|fig|vol|pp?|art|abs|ca|tel|[ck]ap|ch|sec")
_ABBREVIATIONS = re.compile(
    "etc|usw|inc|ltd|co|corp|[js]r|dept|est|approx|ave|blvd|rd|gen|gov|sen|rep|hon|rev|jan|feb|mar|apr|jun|jul|aug|"
    "sept?|oct|nov|dec|ff|al|ggf|evtl|inkl|zzgl|gmbh|tsd|mio|mrd|ecc"
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
# A pause that ends a sentence where its text leaves that open; where it says no; where it says nothing at all.
_OPEN_S, _AGAINST_S, _SILENT_S = 0.3, 1.0, 2.0
# Without punctuation a sentence ends at the next good place after so many characters, and at any after more.
_LONG_CHARACTERS, _LONGEST_CHARACTERS = 300, 1000
_BREATH_S = 0.5
# "On the 3. of May", but "in 1990."
_SHORT_NUMBER = 2

_PARAGRAPH_PAUSE_S = 3.0
_PARAGRAPH_CHARACTERS, _MOST_CHARACTERS = 500, 1200
# How much worse it is to part two sentences that no pause parts than two with a break between them, in paragraphs that
# are twice as long as they should be.
_PART = 0.8
_BREAK_S = 1.0


class Passage(Value):
    """Words that are read together.

    Attributes:
        start_s: Of its first word.
        end_s: When its last word to end ends.
        speaker: Whose words these are; ``None`` where unknown.
        label: What to call the speaker: the name someone gave, else the id.
        text: The words joined.
        first_word: Its first word, counted through the transcript from 0.
        word_count: How many there are.
    """

    start_s: float
    end_s: float
    speaker: str | None
    label: str | None
    text: str
    first_word: int
    word_count: int


class Sentence(Passage):
    """A sentence of one speaker."""


class Paragraph(Passage):
    """Sentences of one speaker.

    Attributes:
        first_sentence: Its first sentence, counted through the transcript from 0.
        sentence_count: How many there are.
    """

    first_sentence: int
    sentence_count: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A word in its place.

    Attributes:
        text: Of the word, with a space before it where a segment that was trimmed begins with it.
        segment: The number of its segment.
        speaker: The segment's.
    """

    word: Word
    text: str
    segment: int
    speaker: str | None


def placed(transcript: Transcript) -> list[Placed]:
    """All words in order; their texts, joined, are the whole text."""
    words: list[Placed] = []
    before = ""
    for number, segment in enumerate(transcript.segments):
        for position, word in enumerate(segment.words):
            text = word.text
            if position == 0 and before and not before[-1].isspace() and not text[:1].isspace():
                text = text if is_unspaced(before[-1] + text[:1]) else f" {text}"
            before = text or before
            words.append(Placed(word, text, number, segment.speaker))
    return words


def joined(words: Sequence[Placed]) -> str:
    """The text of words that follow each other."""
    return "".join(word.text for word in words).strip()


def sentences(transcript: Transcript) -> tuple[Sentence, ...]:
    """The sentences of a transcript, in order: every word is in exactly one, if any word can be seen."""
    words = placed(transcript)
    starts = list(_starts(words))
    # What cannot be seen before the first sentence goes with it.
    bounds = [0, *starts[1:], len(words)] if starts else []
    return tuple(
        Sentence(**_passage(transcript, words, first, stop, speaker=words[start].speaker))
        for start, first, stop in zip(starts, bounds, bounds[1:], strict=False)
    )


def paragraphs(transcript: Transcript, found: Sequence[Sentence] | None = None) -> tuple[Paragraph, ...]:
    """The paragraphs of a transcript, in order: every sentence is in exactly one.

    Args:
        transcript: The whole of it.
        found: Its sentences, if they are known already.
    """
    found = sentences(transcript) if found is None else found
    words = placed(transcript)
    cuts = [(first + at, stop + at) for run, at in _runs(found) for first, stop in _cut(run)]
    return tuple(
        Paragraph(
            **_passage(
                transcript,
                words,
                found[first].first_word,
                found[stop - 1].first_word + found[stop - 1].word_count,
                speaker=found[first].speaker,
            ),
            first_sentence=first,
            sentence_count=stop - first,
        )
        for first, stop in cuts
    )


def _passage(
    transcript: Transcript, words: Sequence[Placed], first: int, stop: int, *, speaker: str | None
) -> dict[str, object]:
    span = words[first:stop]
    return {
        "start_s": span[0].word.start_s,
        "end_s": max(one.word.end_s for one in span),
        "speaker": speaker,
        "label": transcript.label(speaker),
        "text": joined(span),
        "first_word": first,
        "word_count": stop - first,
    }


def _starts(words: Sequence[Placed]) -> Iterator[int]:
    """The first word of each sentence, of those that can be seen."""
    visible = [number for number, word in enumerate(words) if word.text.strip()]
    has_capitals = any(any(map(str.isupper, words[number].text)) for number in visible)
    tail, characters = "", 0
    for position, number in enumerate(visible):
        text = "".join(word.text for word in words[visible[position - 1] + 1 if position else 0 : number + 1])
        if position:
            is_apart = text[:1].isspace() or tail[-1:].isspace()
            here = _Gap(tail, text.strip(), is_apart, _pause_s(words, visible[position - 1], number), has_capitals)
            new_speaker = words[number].speaker != words[visible[position - 1]].speaker
            new_segment = words[number].segment != words[visible[position - 1]].segment
            if new_speaker or here.ends_sentence() or here.ends_overlong(characters, new_segment):
                yield number
                tail, characters = "", 0
        else:
            yield number
            is_apart = True
        tail = text if is_apart else (tail + text)[-_LONG_CHARACTERS:]
        characters += len(text)


def _pause_s(words: Sequence[Placed], left: int, right: int) -> float:
    return words[right].word.start_s - words[left].word.end_s


@dataclass(frozen=True, slots=True)
class _Gap:
    """What is between two words.

    Attributes:
        tail: What was written before, back to the last space.
        following: The next word, without space around it.
        is_apart: Whether there is space between them.
        has_capitals: Whether this text knows any.
    """

    tail: str
    following: str
    is_apart: bool
    pause_s: float
    has_capitals: bool

    def ends_sentence(self) -> bool:
        core = self.tail.strip().rstrip(CLOSERS)
        last = core[-1:]
        if not self.is_apart and not self.following.strip(CLOSERS + "".join(_CERTAIN | _UNCERTAIN)):
            return False  # more marks, or the end of a quotation
        if last in _CERTAIN or self.pause_s >= _SILENT_S:
            return True
        if not last or last not in _UNCERTAIN:
            return False
        following = self.following.lstrip(_OPENERS)[:1]
        if not self.is_apart and following.isalnum():
            return False  # 3.14, example.com
        return self.pause_s >= self._needed_s(core, following)

    def _needed_s(self, core: str, following: str) -> float:
        """How long a pause must be here to make this mark the end of a sentence."""
        if following.islower() and self.has_capitals:
            return _AGAINST_S
        if core[-1] != "." or core.endswith(".."):
            return float("-inf")
        word = core[:-1].lstrip(_OPENERS)
        low = word.lower()
        if _TITLES.fullmatch(low) or (_BEFORE_NUMBERS.fullmatch(low) and following.isdecimal()):
            return _AGAINST_S
        is_number = word.isdecimal() and len(word) <= _SHORT_NUMBER
        is_initial = _INITIALS.fullmatch(word) is not None and word != "I"
        return _OPEN_S if is_number or is_initial or _ABBREVIATIONS.fullmatch(low) else float("-inf")

    def ends_overlong(self, characters: int, new_segment: bool) -> bool:
        """Whether a text without punctuation is cut here."""
        is_good = new_segment or self.pause_s >= _BREATH_S or stop_after(self.tail) is Stop.CLAUSE
        return (characters >= _LONG_CHARACTERS and is_good) or characters >= _LONGEST_CHARACTERS


def _runs(found: Sequence[Sentence]) -> Iterator[tuple[Sequence[Sentence], int]]:
    """Sentences that may stand in one paragraph, and where they begin: one speaker, no long pause."""
    begin = 0
    for at in range(1, len(found) + 1):
        if at == len(found) or (
            found[at].speaker != found[at - 1].speaker or found[at].start_s - found[at - 1].end_s >= _PARAGRAPH_PAUSE_S
        ):
            yield found[begin:at], begin
            begin = at


def _cut(run: Sequence[Sentence]) -> list[tuple[int, int]]:
    """Cut a run into paragraphs: the first sentence of each and the one after its last."""
    best = [0.0] + [float("inf")] * len(run)
    came_from = [0] * (len(run) + 1)
    for first in range(len(run)):
        characters = 0
        for stop in range(first + 1, len(run) + 1):
            characters += len(run[stop - 1].text) + 1
            if characters > _MOST_CHARACTERS and stop > first + 1:
                break
            pause_s = run[stop].start_s - run[stop - 1].end_s if stop < len(run) else _BREAK_S
            part = _PART * (0.5 - min(1.0, max(0.0, pause_s) / _BREAK_S))
            cost = best[first] + (characters / _PARAGRAPH_CHARACTERS - 1.0) ** 2 + part
            if cost < best[stop]:
                best[stop], came_from[stop] = cost, first
    cuts = []
    stop = len(run)
    while stop:
        cuts.append((came_from[stop], stop))
        stop = came_from[stop]
    return cuts[::-1]
