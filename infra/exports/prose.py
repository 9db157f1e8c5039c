"""Plain text to read."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.exports.cleaning import one_line
from shared.punctuation import Stop, stop_after
from shared.transcript import Segment, Transcript

# A monologue is easier to read, and to find one's place in, with a paragraph every few sentences.
_PARAGRAPH_CHARACTERS = 800
_PAUSE_S = 3.0


@dataclass
class _Paragraph:
    speaker: str | None
    start_s: float
    end_s: float
    texts: list[str] = field(default_factory=list)

    def takes(self, segment: Segment) -> bool:
        """Whether a segment goes on with this paragraph."""
        full = sum(map(len, self.texts)) > _PARAGRAPH_CHARACTERS and stop_after(self.texts[-1]) is Stop.SENTENCE
        return segment.speaker == self.speaker and segment.start_s - self.end_s <= _PAUSE_S and not full


def txt(transcript: Transcript) -> str:
    """Paragraphs, each with its time and speaker where speakers are told apart; an empty line between them."""
    blocks = []
    for paragraph in _paragraphs(transcript):
        text = " ".join(paragraph.texts)
        label = one_line(transcript.label(paragraph.speaker) or "")
        head = f"[{_clock(paragraph.start_s)}] " if transcript.speakers else ""
        blocks.append(f"{head}{label}: {text}\n" if label else f"{head}{text}\n")
    return "\n".join(blocks)


def _paragraphs(transcript: Transcript) -> Iterator[_Paragraph]:
    paragraph: _Paragraph | None = None
    for segment in transcript.segments:
        text = one_line(segment.text)
        if not text:
            continue
        if paragraph is None or not paragraph.takes(segment):
            if paragraph is not None:
                yield paragraph
            paragraph = _Paragraph(segment.speaker, segment.start_s, segment.end_s)
        paragraph.texts.append(text)
        paragraph.end_s = max(paragraph.end_s, segment.end_s)
    if paragraph is not None:
        yield paragraph


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(max(0, int(time_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
