"""Who said which word: recognised words joined with diarised turns.

The words are labelled as one sequence, by dynamic programming (Viterbi, 1967). Giving a word to a speaker costs
the share of the word that their turns do not cover, and more the further away they are; changing the speaker
between two words costs too, little after a sentence or a pause and most in the middle of a clause. So a word goes
to whoever overlaps it most, a tie goes to whoever was speaking, a word that no turn covers goes to the nearest
turn, and a turn boundary that is a little off moves to where the sentence ends.

A change never costs more than a quarter of a word, and a flip is two changes; therefore a word that one speaker
alone covers by more than half is always theirs, however short the interjection.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from shared.punctuation import Stop, stop_after
from shared.transcript import NO_SPEECH, Diarization, Recognition, Segment, Speaker, Transcript, Turn, Word

# Costs are whole numbers, so that equal costs are equal and ties break the same way everywhere.
_UNIT = 1_000_000
_SWITCH = {Stop.SENTENCE: 50_000, Stop.CLAUSE: 150_000, Stop.NONE: 250_000}
# A pause this long invites a change as much as the end of a sentence does.
_PAUSE_S = 0.5
# Recognisers give words no length at all, or stretch them over a pause; neither says how much must be covered.
_SHORTEST_WORD_S = 0.05
_LONGEST_WORD_S = 1.0
# A sentence that begins and ends with a turn belongs to it even if another speaker's turn goes on meanwhile.
_FIT_TOLERANCE_S = 0.3
_FIT_BONUS = 200_000


def attribute(recognition: Recognition, diarization: Diarization | None) -> Transcript:
    """Join what was said with who spoke when.

    Takes O(n log n) for n words and turns in all, as long as few speakers talk at once.

    Args:
        recognition: Words; their texts, times, probabilities and order are kept.
        diarization: Turns, which may overlap; ``None`` where speakers are not told apart.

    Returns:
        Version 1 of the transcript: segments of one speaker each, split where the speaker changes; speakers by
        first appearance in the turns. Without any turn every speaker is ``None``; without any word there is a
        notice.
    """
    turns = sorted(diarization.turns, key=lambda turn: (turn.start_s, turn.end_s)) if diarization else []
    speakers = _speakers(turns)
    owners = iter(_owners(recognition.segments, turns, [speaker.speaker for speaker in speakers]))
    segments = tuple(piece for segment in recognition.segments for piece in _split(segment, owners))
    models = {"transcribe": recognition.model, "diarize": diarization.model if diarization else ""}
    return Transcript(
        language=recognition.language,
        language_probability=recognition.language_probability,
        duration_s=recognition.duration_s,
        speakers=speakers,
        segments=segments,
        turns=diarization.turns if diarization else (),
        notices=() if segments else (NO_SPEECH,),
        models={stage: model for stage, model in models.items() if model},
    )


def _speakers(turns: Iterable[Turn]) -> tuple[Speaker, ...]:
    speech_s: dict[str, float] = {}
    for turn in turns:
        speech_s[turn.speaker] = speech_s.get(turn.speaker, 0.0) + max(0.0, turn.end_s - turn.start_s)
    return tuple(Speaker(speaker=speaker, speech_s=round(total, 3)) for speaker, total in speech_s.items())


def _split(segment: Segment, owners: Iterator[str | None]) -> Iterator[Segment]:
    """Cut a segment where the speaker changes, taking one owner a word."""
    owned = [
        Word(text=word.text, start_s=word.start_s, end_s=word.end_s, probability=word.probability, speaker=next(owners))
        for word in segment.words
    ]
    pieces = [(speaker, tuple(words)) for speaker, words in groupby(owned, key=lambda word: word.speaker)]
    for speaker, words in pieces:
        whole = len(pieces) == 1
        yield Segment(
            start_s=segment.start_s if whole else words[0].start_s,
            end_s=segment.end_s if whole else max(word.end_s for word in words),
            words=words,
            speaker=speaker,
        )


def _owners(segments: Sequence[Segment], turns: Sequence[Turn], speakers: Sequence[str]) -> list[str | None]:
    """The speaker of each word."""
    numbers = {speaker: number for number, speaker in enumerate(speakers)}
    timeline = _Timeline.of(turns, numbers)
    words = [word for segment in segments for word in segment.words]
    if not timeline.edges:
        return [None] * len(words)
    fitting = _fitting(segments, turns, numbers)
    costs = [_costs(word, timeline, fits) for word, fits in zip(words, fitting, strict=True)]
    return [speakers[number] for number in _cheapest(costs, _switches(segments))]


@dataclass(frozen=True)
class _Timeline:
    """Turns as a sequence of spans in which the same speakers are active.

    Attributes:
        edges: Times at which somebody starts or stops, rising.
        active: Speakers from each edge to the next; nobody from the last one on.
        before: For each edge, the latest span up to its own in which somebody speaks; -1 if there is none.
        after: For each edge, the first span from its own on in which somebody speaks; -1 if there is none.
    """

    edges: list[float]
    active: list[tuple[int, ...]]
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, turns: Sequence[Turn], numbers: dict[str, int]) -> "_Timeline":
        """Sweep over the turns. Those without length are left out: they cover nothing."""
        changes: dict[float, list[tuple[int, int]]] = {}
        for turn in turns:
            if turn.end_s > turn.start_s:
                changes.setdefault(turn.start_s, []).append((numbers[turn.speaker], 1))
                changes.setdefault(turn.end_s, []).append((numbers[turn.speaker], -1))
        edges = sorted(changes)
        active: list[tuple[int, ...]] = []
        depth: dict[int, int] = {}
        for edge in edges:
            for number, change in changes[edge]:
                depth[number] = depth.get(number, 0) + change
                if not depth[number]:
                    del depth[number]
            active.append(tuple(sorted(depth)))
        before = _latest_spoken(active)
        last = len(active) - 1
        after = [last - span if span >= 0 else -1 for span in reversed(_latest_spoken(active[::-1]))]
        return cls(edges, active, before, after)

    def covered(self, start_s: float, end_s: float) -> dict[int, float]:
        """Seconds of a span that each speaker's turns cover; those with none are left out."""
        seconds: dict[int, float] = {}
        span = bisect_right(self.edges, start_s) - 1
        while start_s < end_s and span + 1 < len(self.edges):
            until_s = min(self.edges[span + 1], end_s)
            for number in self.active[span] if span >= 0 else ():
                seconds[number] = seconds.get(number, 0.0) + until_s - start_s
            start_s = until_s
            span += 1
        return seconds

    def near(self, start_s: float, end_s: float) -> Iterator[tuple[int, float]]:
        """Speakers of the last span before and the first one after, and how many seconds away they are."""
        here = bisect_right(self.edges, start_s) - 1
        earlier = self.before[here - 1] if here >= 1 else -1
        if earlier >= 0:
            for number in self.active[earlier]:
                yield number, start_s - self.edges[earlier + 1]
        there = bisect_left(self.edges, end_s)
        later = self.after[there] if there < len(self.edges) else -1
        if later >= 0:
            for number in self.active[later]:
                yield number, self.edges[later] - end_s


def _latest_spoken(active: Sequence[tuple[int, ...]]) -> list[int]:
    latest = -1
    spans = []
    for span, numbers in enumerate(active):
        latest = span if numbers else latest
        spans.append(latest)
    return spans


def _costs(word: Word, timeline: _Timeline, fits: frozenset[int]) -> dict[int, int]:
    """What giving a word to each speaker in question costs: 0 to 1 where they speak, 1 to 2 where they are near."""
    slack_s = max(0.0, _SHORTEST_WORD_S - (word.end_s - word.start_s)) / 2
    start_s, end_s = word.start_s - slack_s, word.end_s + slack_s
    length_s = min(end_s - start_s, _LONGEST_WORD_S)
    costs = {}
    for number, seconds in timeline.covered(start_s, end_s).items():
        bonus = _FIT_BONUS if number in fits else 0
        costs[number] = round(_UNIT * (1.0 - min(1.0, seconds / length_s))) - bonus
    if min(costs.values(), default=_UNIT) + 2 * _SWITCH[Stop.NONE] < _UNIT:
        return costs  # Changing to this speaker and back is cheaper than anyone who is merely near.
    for number, distance_s in timeline.near(start_s, end_s):
        cost = round(_UNIT * (1.0 + distance_s / (1.0 + distance_s)))
        costs[number] = min(cost, costs.get(number, cost))
    return costs


def _fitting(segments: Sequence[Segment], turns: Sequence[Turn], numbers: dict[str, int]) -> list[frozenset[int]]:
    """For each word, the speakers with a turn that begins and ends with the word's sentence."""
    starts = [turn.start_s for turn in turns]
    fitting: list[frozenset[int]] = []
    for sentence in _sentences(segments):
        first_s, last_s = sentence[0].start_s, sentence[-1].end_s
        low = bisect_left(starts, first_s - _FIT_TOLERANCE_S)
        high = bisect_right(starts, first_s + _FIT_TOLERANCE_S)
        fits = frozenset(
            numbers[turn.speaker] for turn in turns[low:high] if abs(turn.end_s - last_s) <= _FIT_TOLERANCE_S
        )
        fitting.extend([fits] * len(sentence))
    return fitting


def _sentences(segments: Iterable[Segment]) -> Iterator[list[Word]]:
    for segment in segments:
        sentence: list[Word] = []
        for word in segment.words:
            sentence.append(word)
            if stop_after(word.text) is Stop.SENTENCE:
                yield sentence
                sentence = []
        if sentence:
            yield sentence


def _switches(segments: Iterable[Segment]) -> list[int]:
    """What a change of speaker right before each word costs."""
    switches = []
    previous: Word | None = None
    for segment in segments:
        for position, word in enumerate(segment.words):
            # A recogniser tends to end segments where clauses end, punctuated or not.
            stop = max(stop_after(previous.text) if previous else Stop.NONE, Stop.NONE if position else Stop.CLAUSE)
            pause_s = max(0.0, word.start_s - previous.end_s) if previous else 0.0
            discount = (_SWITCH[stop] - _SWITCH[Stop.SENTENCE]) * min(1.0, pause_s / _PAUSE_S)
            switches.append(round(_SWITCH[stop] - discount))
            previous = word
    return switches


def _cheapest(costs: Sequence[dict[int, int]], switches: Sequence[int]) -> list[int]:
    """The sequence of speakers that costs least; of equal ones, the one that changes speakers latest."""
    totals: dict[int, int] = {}
    origins: list[dict[int, int]] = []
    for candidates, switch in zip(costs, switches, strict=True):
        best = min(totals, key=totals.__getitem__, default=None)
        origin = {}
        reached = {}
        for number, cost in candidates.items():
            jump = totals[best] + switch if best is not None else 0
            stay = totals.get(number, jump + 1)
            origin[number] = number if stay < jump or best is None else best
            reached[number] = min(stay, jump) + cost
        totals = reached
        origins.append(origin)
    path = []
    if totals:
        number = min(totals, key=totals.__getitem__)
        for origin in reversed(origins):
            path.append(number)
            number = origin[number]
    return path[::-1]
