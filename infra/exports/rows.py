"""Formats of one row a turn or a word, as scorers read them.

RTTM: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
CTM: NIST, "OpenASR20 Challenge Evaluation Plan", appendix on system output.
"""

from infra.exports.cleaning import one_column, one_line, unique_columns
from shared.transcript import Transcript

# A transcript does not know its file's name; a scorer only needs it to be the same in both files.
_FILE = "media"


def rttm(transcript: Transcript) -> str:
    """Turns, by start time. Times in seconds, to the millisecond."""
    columns = unique_columns(transcript)
    return "".join(
        f"SPEAKER {_FILE} 1 {turn.start_s:.3f} {max(0.0, turn.end_s - turn.start_s):.3f} "
        f"<NA> <NA> {columns[turn.speaker]} <NA> <NA>\n"
        for turn in sorted(transcript.turns, key=lambda turn: (turn.start_s, turn.end_s))
    )


def ctm(transcript: Transcript) -> str:
    """Words with confidence, by start time, which scorers insist on. CTM has no column for speakers."""
    return "".join(
        f"{_FILE} 1 {word.start_s:.3f} {max(0.0, word.end_s - word.start_s):.3f} "
        f"{one_column(word.text)} {word.probability:.4f}\n"
        for word in sorted(transcript.words, key=lambda word: word.start_s)
        if one_line(word.text)
    )
