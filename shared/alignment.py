"""New words on old times: what someone wrote instead of what was recognised.

Words that stay keep their times exactly. What was replaced shares the time of what it replaces: word by word where
there are as many, otherwise in proportion to length. What was inserted takes its time from the gap before it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise

from shared.scripts import UNSPACED, is_unspaced
from shared.search import folded
from shared.transcript import Word

# How long a character takes that was inserted where nothing was heard.
_CHARACTER_S = 0.07

# One character of a script without spaces, with the punctuation behind it; or anything else up to the next of them.
_PIECES = re.compile(f"\\s*(?:[{UNSPACED}]|[^\\s{UNSPACED}]+)(?:(?![\\w\\s])[{UNSPACED}])*")

Key = Callable[[str], str]


@dataclass(frozen=True)
class Room:
    """The time that is free around words: from the end of what is before to the start of what is after."""

    start_s: float
    end_s: float


def realigned(
    old: Sequence[Word], text: str, room: Room, *, speaker: str | None, is_spaced: bool, is_leading: bool = False
) -> tuple[Word, ...]:
    """The words of a new text in the place of old words.

    If the old words' starts never fall, the new ones' do not either; and none starts or ends outside ``room`` and the
    old words.

    Args:
        old: What is replaced; may be empty.
        text: What is there from now on; without any word, nothing is.
        room: The gap around the old words.
        speaker: Of the new words.
        is_spaced: Whether this transcript parts words by spaces.
        is_leading: Whether nothing of the segment is before these words.

    Returns:
        Words that stay as they were, with the very times and probability; the others with probability 1.
    """
    new = _split(text, old, is_spaced)
    words: list[Word] = []
    for kind, first, stop, begin, end in _aligned([word.text.strip() for word in old], [part.strip() for part in new]):
        if kind == "equal":
            words += [_spaced(word, part) for word, part in zip(old[first:stop], new[begin:end], strict=True)]
            continue
        after_s = _start(old, stop, room)
        before_s = min(old[first - 1].end_s, after_s) if first else min(room.start_s, after_s)
        times = _times(
            old[first:stop],
            [len(part.strip()) for part in new[begin:end]],
            Room(before_s, after_s),
            is_leading=is_leading and not first,
        )
        words += [
            Word(text=part, start_s=start_s, end_s=end_s, probability=1.0, speaker=speaker)
            for part, (start_s, end_s) in zip(new[begin:end], times, strict=True)
        ]
    return tuple(words)


def _spaced(word: Word, text: str) -> Word:
    """A word that stays, unless it has become the first, or is the first no more: then the space before it changes."""
    is_same = word.text[:1].isspace() == text[:1].isspace()
    return word if is_same else word.model_copy(update={"text": text})


def _start(old: Sequence[Word], number: int, room: Room) -> float:
    """When what is at a place starts: a word, or what comes after all of them."""
    return old[number].start_s if number < len(old) else room.end_s


def _split(text: str, old: Sequence[Word], is_spaced: bool) -> list[str]:
    """A text as words, each with the space before it; the first is spaced as the first old one was."""
    text = " ".join(text.split())
    lead = old[0].text[: len(old[0].text) - len(old[0].text.lstrip())] if old else " " * is_spaced
    if not text:
        return []
    if is_spaced or not is_unspaced(text):
        return [lead + text.split()[0], *(f" {part}" for part in text.split()[1:])]
    pieces = [found[0] for found in _PIECES.finditer(text)]
    pieces = list(_as_before(pieces, [word.text.strip() for word in old]))
    return [lead + pieces[0], *pieces[1:]]


def _as_before(pieces: Sequence[str], old: Sequence[str]) -> Iterator[str]:
    """Pieces of a text without spaces joined into words as they were, wherever a word is there again."""
    text = "".join(pieces)
    bounds = {0, *accumulate(map(len, pieces))}
    starts = list(accumulate(map(len, old), initial=0))
    matcher = SequenceMatcher(None, "".join(old), text)
    for was, now, size in matcher.get_matching_blocks():
        for start, stop in pairwise(starts):
            if was <= start and stop <= was + size:
                begin, end = now + start - was, now + stop - was
                begin -= begin > 0 and text[begin - 1] == " "
                bounds = {bound for bound in bounds if not begin < bound < end} | {begin, end}
    for begin, end in pairwise(sorted(bounds)):
        yield text[begin:end]


Change = tuple[str, int, int, int, int]


def _aligned(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """What became of which words: those that are the same; then, between them, those that are written otherwise."""
    for tag, first, stop, begin, end in _opcodes(old, new, str):
        if tag != "replace":
            yield tag, first, stop, begin, end
            continue
        for _, i, j, k, m in _opcodes(old[first:stop], new[begin:end], _likeness):
            if j - i == m - k:  # each new word has the time of the old one
                for offset in range(j - i):
                    was, now = first + i + offset, begin + k + offset
                    yield "replace", was, was + 1, now, now + 1
            else:
                yield "replace", first + i, first + j, begin + k, begin + m


def _likeness(text: str) -> str:
    return "".join(filter(str.isalnum, folded(text))) or text


def _opcodes(old: Sequence[str], new: Sequence[str], key: Key) -> Iterator[Change]:
    """As :meth:`difflib.SequenceMatcher.get_opcodes`.

    Its time grows with the square of what it is given, and more where words repeat; so from 200 words on it does not
    begin a match with one of the commonest. What it leaves so is compared again in smaller parts.
    """
    left, right = [key(text) for text in old], [key(text) for text in new]
    head = 0
    while head < min(len(left), len(right)) and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < min(len(left), len(right)) - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    if head:
        yield "equal", 0, head, 0, head
    middle = SequenceMatcher(None, left[head : len(left) - tail], right[head : len(right) - tail])
    for tag, first, stop, begin, end in middle.get_opcodes():
        yield tag, first + head, stop + head, begin + head, end + head
    if tail:
        yield "equal", len(left) - tail, len(left), len(right) - tail, len(right)


def _times(old: Sequence[Word], lengths: Sequence[int], gap: Room, *, is_leading: bool) -> list[tuple[float, float]]:
    """Start and end of each new word.

    Args:
        old: The words that these replace.
        lengths: Characters of each new word.
        gap: From the end of the word before to the start of the word after.
        is_leading: Whether nothing of what they belong to is before them.
    """
    if not lengths:
        return []
    if len(old) == len(lengths) == 1:
        return [(old[0].start_s, old[0].end_s)]
    total = sum(lengths)
    if old:
        start_s = old[0].start_s
        end_s = max(start_s, min(max(word.end_s for word in old), gap.end_s))
    else:
        wanted_s = min(total * _CHARACTER_S, gap.end_s - gap.start_s)
        start_s = gap.end_s - wanted_s if is_leading else gap.start_s
        end_s = start_s + wanted_s
    inner = [start_s + (end_s - start_s) * share / total for share in accumulate(lengths[:-1])]
    return list(pairwise([start_s, *(min(max(round(edge, 3), start_s), end_s) for edge in inner), end_s]))
