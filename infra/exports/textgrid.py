"""Praat TextGrid: for each speaker a tier of segments and a tier of words."""

from collections.abc import Iterable
from typing import Any

from infra.exports.cleaning import one_line, unique_columns
from shared.captions import disjoint_ms
from shared.transcript import Segment, Transcript, Word

# Praat knows neither overlaps within a tier nor intervals without length.
_SHORTEST_MS = 1


def textgrid(transcript: Transcript) -> str:
    """All segments and words, as the long text format that Praat itself writes.

    Where segments or words of one speaker overlap, the earlier one is cut short.
    """
    from praatio.utilities.textgrid_io import getTextgridAsStr

    names = unique_columns(transcript)
    rows = [
        (name, [segment for segment in transcript.segments if segment.speaker == speaker])
        for speaker, name in names.items()
    ]
    nobody = [segment for segment in transcript.segments if segment.speaker is None]
    if nobody or not rows:
        rows.append(("-", nobody))
    tiers = []
    for name, segments in rows:
        words = [word for segment in segments for word in segment.words]
        tiers.append((f"{name} - segments", _intervals(segments)))
        tiers.append((f"{name} - words", _intervals(words)))
    end_s = max([transcript.duration_s, 0.001, *(entries[-1][1] for _, entries in tiers if entries)])
    grid = {"xmin": 0.0, "xmax": end_s, "tiers": [_tier(name, end_s, entries) for name, entries in tiers]}
    text: str = getTextgridAsStr(grid, "long_textgrid", includeBlankSpaces=True)
    return text


def _tier(name: str, end_s: float, entries: list[tuple[float, float, str]]) -> dict[str, Any]:
    return {"class": "IntervalTier", "name": name, "xmin": 0.0, "xmax": end_s, "entries": entries}


def _intervals(spans: Iterable[Segment | Word]) -> list[tuple[float, float, str]]:
    seen = [(span, text) for span in spans if (text := one_line(span.text))]
    times = disjoint_ms([(round(s.start_s * 1000), round(s.end_s * 1000)) for s, _ in seen], _SHORTEST_MS)
    return [(start / 1000, end / 1000, text) for (start, end), (_, text) in zip(times, seen, strict=True)]
