"""What changed between two versions of a transcript."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import groupby
from types import MappingProxyType
from typing import Literal

from shared.model import Value
from shared.sentences import Placed, joined, placed
from shared.transcript import Transcript

Kind = Literal["replaced", "inserted", "removed"]
_KINDS: Mapping[str, Kind] = MappingProxyType({"replace": "replaced", "insert": "inserted", "delete": "removed"})


class Span(Value):
    """Words of one version.

    Attributes:
        first_word: The first of them, counted through the transcript from 0.
        word_count: How many there are; where none are, ``first_word`` is the place.
        text: The words joined.
        start_s: Of the first; ``None`` where there are none.
        end_s: Of the last.
    """

    first_word: int
    word_count: int
    text: str
    start_s: float | None = None
    end_s: float | None = None


class WordChange(Value):
    """Words that became others, or other times."""

    kind: Kind
    before: Span
    after: Span


class SpeakerChange(Value):
    """Words that were given to another speaker."""

    words: Span
    before: str | None
    after: str | None


class NameChange(Value):
    """A speaker who got another name, came, or went: ``None`` where there is no name."""

    speaker: str
    before: str | None
    after: str | None
    is_new: bool = False
    is_gone: bool = False


class Difference(Value):
    """All that changed.

    Attributes:
        words: In order of time.
        speakers: Of words that stayed, in order of time; places are those of the later version.
        names: By speaker.
    """

    words: tuple[WordChange, ...] = ()
    speakers: tuple[SpeakerChange, ...] = ()
    names: tuple[NameChange, ...] = ()


def difference(before: Transcript, after: Transcript) -> Difference:
    """What is to be done to one version to get the other.

    Words are the same where text and times are. Since that hardly repeats, most find each other at once, as in Cohen's
    patience diff; only what is between them is compared.
    """
    old, new = placed(before), placed(after)
    changes: list[WordChange] = []
    same: list[tuple[int, int]] = []
    left, right = [_key(word) for word in old], [_key(word) for word in new]
    was, now = 0, 0
    for old_anchor, new_anchor in [*_anchors(left, right), (len(old), len(new))]:
        for kind, first, stop, begin, end in _opcodes(left[was:old_anchor], right[now:new_anchor]):
            if kind == "equal":
                same += zip(range(was + first, was + stop), range(now + begin, now + end), strict=True)
            else:
                spans = _span(old, was + first, was + stop), _span(new, now + begin, now + end)
                changes.append(WordChange(kind=_KINDS[kind], before=spans[0], after=spans[1]))
        same.append((old_anchor, new_anchor))
        was, now = old_anchor + 1, new_anchor + 1
    return Difference(words=tuple(changes), speakers=_speakers(old, new, same[:-1]), names=_names(before, after))


Key = tuple[str, float, float]


def _key(word: Placed) -> Key:
    return word.word.text.strip(), word.word.start_s, word.word.end_s


def _anchors(left: list[Key], right: list[Key]) -> Iterator[tuple[int, int]]:
    """Places of what is in both once, in order."""
    counts = (Counter(left), Counter(right))
    places = {key: at for at, key in enumerate(right)}
    last = -1
    for at, key in enumerate(left):
        if counts[0][key] == counts[1][key] == 1 and places[key] > last:
            last = places[key]
            yield at, last


def _opcodes(left: list[Key], right: list[Key]) -> Iterable[tuple[str, int, int, int, int]]:
    if left and right:
        return SequenceMatcher(None, left, right).get_opcodes()
    kind = "delete" if left else "insert"
    return [(kind, 0, len(left), 0, len(right))] if left or right else []


def _span(words: list[Placed], first: int, stop: int) -> Span:
    found = words[first:stop]
    return Span(
        first_word=first,
        word_count=stop - first,
        text=joined(found),
        start_s=found[0].word.start_s if found else None,
        end_s=max(one.word.end_s for one in found) if found else None,
    )


def _speakers(old: list[Placed], new: list[Placed], same: list[tuple[int, int]]) -> tuple[SpeakerChange, ...]:
    def run(item: tuple[int, tuple[int, int]]) -> tuple[str | None, str | None, int, int]:
        position, (was, now) = item
        # Places that go on by one each, in one segment, belong together.
        return old[was].speaker, new[now].speaker, new[now].segment, now - position

    return tuple(
        SpeakerChange(words=_span(new, found[0][1][1], found[-1][1][1] + 1), before=key[0], after=key[1])
        for key, group in groupby(enumerate(same), key=run)
        if key[0] != key[1] and (found := list(group))
    )


def _names(before: Transcript, after: Transcript) -> tuple[NameChange, ...]:
    was = {speaker.speaker: speaker.name for speaker in before.speakers}
    now = {speaker.speaker: speaker.name for speaker in after.speakers}
    return tuple(
        NameChange(
            speaker=speaker,
            before=was.get(speaker),
            after=now.get(speaker),
            is_new=speaker not in was,
            is_gone=speaker not in now,
        )
        for speaker in dict.fromkeys((*was, *now))
        if (speaker in was, was.get(speaker)) != (speaker in now, now.get(speaker))
    )
