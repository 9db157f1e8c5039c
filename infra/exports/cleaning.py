"""Text made safe for formats made of lines and columns."""

import re

from shared.transcript import Transcript

# All that some reader takes for the end of a line (str.splitlines), and tabs.
_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
# What XML 1.0 forbids and no other format has a use for: controls, lone surrogates, noncharacters.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_SPACES = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Text on one line, without control characters or space around it."""
    return _FORBIDDEN.sub("", _BREAKS.sub(" ", text)).strip()


def one_column(text: str) -> str:
    """Text as one column of a row whose columns are parted by spaces; empty text becomes ``-``.

    Quotation marks go too: readers built on CSV parsers would take one for the start of a quoted column.
    """
    return _SPACES.sub("_", one_line(text)).replace('"', "'") or "-"


def unique_columns(transcript: Transcript) -> dict[str, str]:
    """A column for each speaker id. Speakers whose labels look the same stay apart by their ids."""
    ids = dict.fromkeys([*(speaker.speaker for speaker in transcript.speakers), *(t.speaker for t in transcript.turns)])
    columns: dict[str, str] = {}
    taken: set[str] = set()
    for speaker in ids:
        column = one_column(transcript.label(speaker) or speaker)
        while column in taken:
            column = f"{column}_{one_column(speaker)}"
        taken.add(column)
        columns[speaker] = column
    return columns
