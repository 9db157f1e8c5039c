"""Transcripts to test with: written down, or drawn."""

from collections.abc import Sequence

from hypothesis import strategies as st

from shared.transcript import Segment, Speaker, Transcript, Turn, Word

SPEAKERS = ("SPEAKER_00", "SPEAKER_01")
# Words of many kinds and scripts; each text stands as a recogniser would write it.
TEXTS = (
    *(
        "a",
        "word",
        "Well,",
        "end.",
        "What?",
        "é",
        "Café",
        "cafe",
        "don't",
        "3",
        "3.14",
        "Dr.",
        "J.",
        "I",
        "e.g.",
        "...",
    ),
    *("日本", "語", "。", "ไทย", "क्या", "है।", "한국어", "مرحبا", "؟", "”", "-year", "!", "x\ny", "U.S."),
)


def said(*texts: str, word_s: float = 0.3, pause_s: float = 0.05) -> Transcript:
    """Segments of words after each other. ``A:`` before a segment names its speaker by a letter, ``|`` is a pause."""
    segments, now_s, speaker = [], 0.0, None
    for text in texts:
        if text[1:2] == ":":
            speaker, text = f"SPEAKER_{ord(text[0]) - ord('A'):02d}", text[2:]
        words = []
        for part in text.split():
            if part == "|":
                now_s += 1.5
                continue
            words.append(Word(text=f" {part}", start_s=now_s, end_s=now_s + word_s, probability=0.5, speaker=speaker))
            now_s = round(now_s + word_s + pause_s, 3)
        segments.append(Segment(start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words), speaker=speaker))
    return transcript(segments, duration_s=now_s + 1.0)


def transcript(segments: Sequence[Segment], duration_s: float) -> Transcript:
    """A transcript of segments, whose speakers spoke exactly then."""
    turns = tuple(
        Turn(speaker=segment.speaker, start_s=segment.start_s, end_s=segment.end_s)
        for segment in segments
        if segment.speaker
    )
    speakers = [
        Speaker(
            speaker=speaker,
            speech_s=round(sum(turn.end_s - turn.start_s for turn in turns if turn.speaker == speaker), 3),
        )
        for speaker in sorted({turn.speaker for turn in turns})
    ]
    return Transcript(
        language="en", duration_s=duration_s, segments=tuple(segments), speakers=tuple(speakers), turns=turns
    )


@st.composite
def transcripts(draw: st.DrawFn, *, max_segments: int = 6, blanks: bool = True) -> Transcript:
    """Words whose starts never fall, with and without spaces, of speakers known and unknown."""
    is_spaced = draw(st.booleans())
    segments, now_s = [], 0.0
    for _ in range(draw(st.integers(0, max_segments))):
        speaker = draw(st.sampled_from([None, *SPEAKERS]))
        words = []
        for position in range(draw(st.integers(1, 12))):
            now_s = round(now_s + draw(st.sampled_from([0.0, 0.0, 0.05, 0.4, 1.2, 2.5, 4.0])), 3)
            length_s = draw(st.sampled_from([0.0, 0.125, 0.3, 0.3, 1.0]))
            text = draw(st.sampled_from(TEXTS if not blanks else (*TEXTS, " ", "")))
            lead = " " if is_spaced and (position or draw(st.booleans())) else ""
            words.append(
                Word(text=lead + text, start_s=now_s, end_s=now_s + length_s, probability=0.5, speaker=speaker)
            )
            now_s = round(now_s + draw(st.sampled_from([length_s, length_s, length_s / 2])), 3)
        segments.append(
            Segment(
                start_s=words[0].start_s, end_s=max(word.end_s for word in words), words=tuple(words), speaker=speaker
            )
        )
    return transcript(segments, duration_s=now_s + draw(st.sampled_from([1.0, 3.0])))
