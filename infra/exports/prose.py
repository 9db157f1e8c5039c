"""Plain text to read."""

from infra.exports.cleaning import one_line
from shared.sentences import paragraphs
from shared.transcript import Transcript


def txt(transcript: Transcript) -> str:
    """Paragraphs, each with its time and speaker where speakers are told apart; an empty line between them."""
    blocks = []
    for paragraph in paragraphs(transcript):
        text = one_line(paragraph.text)
        label = one_line(paragraph.label or "")
        head = f"[{_clock(paragraph.start_s)}] " if transcript.speakers else ""
        if text:
            blocks.append(f"{head}{label}: {text}\n" if label else f"{head}{text}\n")
    return "\n".join(blocks)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(max(0, int(time_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
