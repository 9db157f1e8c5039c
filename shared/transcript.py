"""Transcript models: what the recogniser heard, who spoke when, and the two joined."""

from typing import Self

from pydantic import Field, model_validator

from shared.model import Value


class Word(Value):
    """One recognised word.

    Attributes:
        text: As in the segment, leading space included, so that joined words equal the segment's text.
        start_s: Seconds from the start of the media.
        end_s: Never before ``start_s``.
        probability: The recogniser's, 0..1.
        speaker: Whose turn it falls in; ``None`` before attribution or without diarization.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    speaker: str | None = None


class Segment(Value):
    """A span of words that belong together; after attribution, of one speaker."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]
    speaker: str | None = None

    @property
    def text(self) -> str:
        """The words joined."""
        return "".join(word.text for word in self.words)


class Recognition(Value):
    """The artifact ``words`` of the transcribe stage.

    Attributes:
        language: ISO 639-1 code; empty where there was no speech to tell it from.
        language_probability: 0..1; 1 where the language was given.
        duration_s: Of the decoded audio: the truth about the length.
        segments: In order of time; every word timed and with a probability.
        model: Alias and revision of the model.
    """

    language: str = ""
    language_probability: float = 0.0
    duration_s: float
    segments: tuple[Segment, ...] = ()
    model: str = ""


class Turn(Value):
    """A diarised span of one speaker. Turns of different speakers may overlap."""

    speaker: str
    start_s: float
    end_s: float


class Diarization(Value):
    """The artifact ``turns`` of the diarize stage: turns by start time, speakers named by who first says something."""

    duration_s: float
    turns: tuple[Turn, ...] = ()
    model: str = ""


class Speaker(Value):
    """One voice of a transcript.

    Attributes:
        speaker: Stable id within the transcript, ``SPEAKER_00``.
        name: What a person called them; ``None`` until someone does.
        speech_s: Sum of their turns.
    """

    speaker: str
    name: str | None = None
    speech_s: float = 0.0

    @property
    def label(self) -> str:
        """The name if there is one, else the id."""
        return self.name or self.speaker


class Notice(Value):
    """Something worth telling that is not an error, e.g. ``audio.no_speech``."""

    code: str
    message: str


NO_SPEECH = Notice(code="audio.no_speech", message="No speech was found in this recording.")


class Transcript(Value):
    """The artifact ``transcript``: who said what, when.

    Attributes:
        version: Grows with each edit; the pipeline writes 1.
        segments: One speaker each, in order of time.
        turns: As diarised, kept for RTTM and for corrections.
    """

    version: int = 1
    language: str = ""
    language_probability: float = 0.0
    duration_s: float
    speakers: tuple[Speaker, ...] = ()
    segments: tuple[Segment, ...] = ()
    turns: tuple[Turn, ...] = ()
    notices: tuple[Notice, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _speakers_are_listed(self) -> Self:
        listed = {speaker.speaker for speaker in self.speakers}
        for segment in self.segments:
            if segment.speaker is not None and segment.speaker not in listed:
                raise ValueError(f"segment speaker {segment.speaker} is not among the speakers")
        return self

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        """All words as one line."""
        return " ".join(segment.text.strip() for segment in self.segments)

    def label(self, speaker: str | None) -> str | None:
        """What to call a speaker id: the name someone gave, else the id."""
        return next((known.label for known in self.speakers if known.speaker == speaker), speaker)
