"""Captions: a transcript cut into what fits on a screen and can be read in time.

Cuts are chosen for a whole run of words at once, by dynamic programming as in Knuth and Plass, "Breaking Paragraphs
into Lines" (1981): first into captions, then each caption into lines. The rules follow the BBC Subtitle Guidelines
and the Netflix Timed Text Style Guide: break where a sentence or a clause ends, else at a pause; balance what has to
be broken; one speaker a caption; never two captions at once.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.model import Value
from shared.options import CaptionRules
from shared.punctuation import Stop, stop_after
from shared.transcript import Transcript

# The shortest time a caption stays: one frame at 25 frames a second. Recognisers give words no length at all.
_FRAME_MS = 40

# Costs of a cut, in captions: a cut that costs 1 is made when it saves a caption.
_CUT = {Stop.SENTENCE: 0.0, Stop.CLAUSE: 0.5, Stop.NONE: 1.5}
# No reader notices a cut at a pause this long.
_PAUSE_MS = 700
# "the", "of", "a": a cut after a very short word mostly splits it from what it belongs to.
_CUT_AFTER_SHORT_WORD = 0.4
_SHORT_WORD_CHARACTERS = 3
# Between words that are written together; only where nothing else keeps the limits.
_CUT_INSIDE_COMPOUND = 50.0
_TOO_SHORT = 2.0
_RAGGED = 1.0

_LINE_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
# Scripts written without spaces that are not East Asian wide: Thai, Lao, Tibetan, Burmese, Khmer.
_UNSPACED = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")


class Caption(Value):
    """What is on screen for a while.

    Attributes:
        start_s: Seconds, in whole milliseconds.
        end_s: After ``start_s`` and not after the next caption's start.
        lines: From top to bottom, none empty, without space at either end.
        speaker: Id of the one speaker; ``None`` where unknown.
    """

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    speaker: str | None = None


def captions(transcript: Transcript, rules: CaptionRules) -> tuple[Caption, ...]:
    """Cut a transcript into captions.

    Every word is in exactly one line, in order. A word longer than a line stands alone on a line; a word that
    lasts longer than a caption may is a caption of its own. A new speaker, or a pause longer than the rules
    allow, starts a new caption.
    """
    cuts = [
        (run, first, stop)
        for run in _runs(transcript, round(rules.max_gap_s * 1000))
        for first, stop in _cut(run, rules)
    ]
    spans = [(run[first].start_ms, max(piece.end_ms for piece in run[first:stop])) for run, first, stop in cuts]
    times = disjoint_ms(spans, _FRAME_MS, round(rules.min_duration_s * 1000), round(transcript.duration_s * 1000))
    return tuple(
        Caption(
            start_s=start_ms / 1000,
            end_s=end_ms / 1000,
            lines=_lines(run[first:stop], rules),
            speaker=run[first].speaker,
        )
        for (run, first, stop), (start_ms, end_ms) in zip(cuts, times, strict=True)
    )


def disjoint_ms(
    spans: Sequence[tuple[int, int]], shortest_ms: int, hold_ms: int = 0, until_ms: int = 0
) -> list[tuple[int, int]]:
    """Make spans follow each other: each ends by the time the next starts, and none is without length.

    A span that starts before its forerunner does, or with it, is moved behind it.

    Args:
        spans: Start and end of each, in milliseconds.
        shortest_ms: Least length of each.
        hold_ms: Shorter spans are extended to this where the next one leaves room.
        until_ms: The last span is not extended beyond this.
    """
    starts: list[int] = []
    for start_ms, _ in spans:
        starts.append(max(start_ms, starts[-1] + shortest_ms) if starts else max(0, start_ms))
    if not starts:
        return []
    room_ms = max(until_ms, spans[-1][1], starts[-1] + shortest_ms)
    limits = [*starts[1:], room_ms]
    return [
        (start_ms, min(max(end_ms, start_ms + max(hold_ms, shortest_ms)), limit_ms))
        for start_ms, limit_ms, (_, end_ms) in zip(starts, limits, spans, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One word as it is laid out.

    Attributes:
        text: Without space around it.
        width: Characters it adds to a line that has some already: the space before it, if any, counts.
        cut: What a cut right after it costs.
    """

    text: str
    width: int
    start_ms: int
    end_ms: int
    speaker: str | None
    cut: float


def _runs(transcript: Transcript, max_gap_ms: int) -> Iterator[list[_Piece]]:
    """The words in runs that captions may be cut from: one speaker, no long pause."""
    run: list[_Piece] = []
    heard_ms = 0
    pieces = list(_pieces(transcript))
    for piece in pieces:
        if run and (piece.speaker != run[-1].speaker or piece.start_ms - heard_ms > max_gap_ms):
            yield run
            run = []
        heard_ms = max(heard_ms, piece.end_ms) if run else piece.end_ms
        run.append(piece)
    if run:
        yield run


def _pieces(transcript: Transcript) -> Iterator[_Piece]:
    """The words that can be seen, each knowing what a cut after it costs."""
    # (text, whether a space stands before it, start, end, speaker)
    words: list[tuple[str, bool, int, int, str | None]] = []
    spaces = any(word.text[:1].isspace() for segment in transcript.segments for word in segment.words[1:])
    open_space = False
    for segment in transcript.segments:
        # Words decide about the spaces between them, except the first of a segment, which may have been trimmed.
        open_space = open_space or spaces
        for word in segment.words:
            flat = _LINE_BREAKS.sub(" ", word.text)
            text = flat.strip()
            if text:
                spaced = open_space or flat[0].isspace()
                words.append((text, spaced, round(word.start_s * 1000), round(word.end_s * 1000), segment.speaker))
            open_space = flat[-1:].isspace() if text else open_space or bool(flat)
    for position, (text, spaced, start_ms, end_ms, speaker) in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else None
        cut = _cut_cost(text, following[0], following[1], following[2] - end_ms) if following else 0.0
        yield _Piece(text, len(text) + spaced, start_ms, end_ms, speaker, cut)


def _cut_cost(text: str, following: str, spaced: bool, pause_ms: int) -> float:
    """What a cut between two words costs."""
    if not spaced and not _may_part(text[-1], following[0]):
        return _CUT_INSIDE_COMPOUND
    stop = stop_after(text)
    cost = _CUT[stop]
    if stop is Stop.NONE and spaced and len(text) <= _SHORT_WORD_CHARACTERS:
        cost += _CUT_AFTER_SHORT_WORD
    return cost * (1.0 - 0.8 * min(1.0, max(0, pause_ms) / _PAUSE_MS))


def _may_part(left: str, right: str) -> bool:
    """Whether a line may be broken between two characters that no space parts, roughly as UAX #14 has it."""
    closing = unicodedata.category(right) in ("Pe", "Pf", "Po", "Mn", "Mc")
    opening = unicodedata.category(left) in ("Ps", "Pi")
    unspaced = any(unicodedata.east_asian_width(one) in "WF" or _UNSPACED.match(one) for one in (left, right))
    return unspaced and not closing and not opening


def _cut(run: Sequence[_Piece], rules: CaptionRules) -> list[tuple[int, int]]:
    """Cut a run into captions: the first piece of each and the one after its last."""
    best = [0.0] + [float("inf")] * len(run)
    came_from = [0] * (len(run) + 1)
    for first in range(len(run)):
        for stop, cost in _caption_costs(run, first, rules):
            if best[first] + cost < best[stop]:
                best[stop] = best[first] + cost
                came_from[stop] = first
    cuts = []
    stop = len(run)
    while stop:
        cuts.append((came_from[stop], stop))
        stop = came_from[stop]
    return cuts[::-1]


def _caption_costs(run: Sequence[_Piece], first: int, rules: CaptionRules) -> Iterator[tuple[int, float]]:
    """Each caption that may start at a piece: the piece after its last, and what it costs."""
    capacity = rules.max_line_characters * rules.max_lines
    start_ms = run[first].start_ms
    lines, line, characters, end_ms = 1, 0, 0, 0
    for stop in range(first + 1, len(run) + 1):
        piece = run[stop - 1]
        end_ms = max(end_ms, piece.end_ms)
        # First fit needs the fewest lines, so this is all that has to be tried.
        if line and line + piece.width > rules.max_line_characters:
            lines, line = lines + 1, 0
        line += piece.width if line else len(piece.text)
        characters += piece.width
        too_long = end_ms - start_ms > rules.max_duration_s * 1000
        if stop > first + 1 and (lines > rules.max_lines or too_long):
            return
        last = stop == len(run)
        shown_ms = max(end_ms, run[stop].start_ms if not last else 0) - start_ms
        wanted_ms = rules.min_duration_s * 1000
        hurry = _TOO_SHORT * (1.0 - max(0, shown_ms) / wanted_ms) if shown_ms < wanted_ms and not last else 0.0
        unused = max(0.0, 1.0 - characters / capacity)
        yield stop, 1.0 + hurry + _RAGGED * unused**2 + (0.0 if last else piece.cut)


def _lines(pieces: Sequence[_Piece], rules: CaptionRules) -> tuple[str, ...]:
    """Lay a caption out in as few lines as hold it, as even as its cuts allow."""
    limit = rules.max_line_characters
    fewest = _fewest_lines(pieces, limit)
    # rows[k][j]: cost of the first j pieces in k lines, and the first piece of the last of them
    rows: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for _ in range(fewest):
        row: dict[int, tuple[float, int]] = {}
        for first, (cost, _) in rows[-1].items():
            for stop, width in _widths(pieces, first, limit):
                cut = pieces[stop - 1].cut if stop < len(pieces) else 0.0
                total = cost + (1.0 - min(1.0, width / limit)) ** 2 + 0.2 * cut
                if total < row.get(stop, (float("inf"), 0))[0]:
                    row[stop] = (total, first)
        rows.append(row)
    lines = []
    stop = len(pieces)
    for row in reversed(rows[1:]):
        first = row[stop][1]
        lines.append(_joined(pieces[first:stop]))
        stop = first
    return tuple(lines[::-1])


def _widths(pieces: Sequence[_Piece], first: int, limit: int) -> Iterator[tuple[int, int]]:
    """Each line that may start at a piece: the piece after its last, and its characters."""
    width = len(pieces[first].text) if first < len(pieces) else 0
    for stop in range(first + 1, len(pieces) + 1):
        if stop > first + 1:
            width += pieces[stop - 1].width
            if width > limit:
                return
        yield stop, width


def _fewest_lines(pieces: Sequence[_Piece], limit: int) -> int:
    first = lines = 0
    while first < len(pieces):
        first = max(stop for stop, _ in _widths(pieces, first, limit))
        lines += 1
    return lines


def _joined(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.text.rjust(piece.width if position else 0) for position, piece in enumerate(pieces))
