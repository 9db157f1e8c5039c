"""Where a sentence or a clause ends, told from the end of a word. Works for the scripts speech models write."""

from enum import IntEnum

_SENTENCE_ENDS = frozenset(".!?…。．！？｡؟۔।॥።")  # noqa: RUF001
_CLAUSE_ENDS = frozenset(",;:—–،؛、，；：､")  # noqa: RUF001
# A stop may stand inside what closes a quotation or a bracket.
CLOSERS = "\"'”’»›)]}」』）】》〉*"  # noqa: RUF001


class Stop(IntEnum):
    """What ends with a word; the greater, the stronger."""

    NONE = 0
    CLAUSE = 1
    SENTENCE = 2


def stop_after(text: str) -> Stop:
    """What ends with a word of this text. An abbreviation's full stop counts: nothing here knows the language."""
    last = text.rstrip().rstrip(CLOSERS)[-1:]
    if last in _SENTENCE_ENDS:
        return Stop.SENTENCE
    return Stop.CLAUSE if last in _CLAUSE_ENDS else Stop.NONE
