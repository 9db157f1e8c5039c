"""What a caller may ask of a job."""

import re
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from shared.model import Value

Language = Annotated[str, StringConstraints(pattern=re.compile(r"^[a-z]{2,3}$"))]
SpeakerCount = Annotated[int, Field(ge=1, le=50)]


class CaptionRules(Value):
    """How captions are cut. Defaults follow broadcast practice (BBC and Netflix timed-text guides).

    Attributes:
        max_line_characters: Characters of the longest line.
        max_lines: Lines of one caption.
        min_duration_s: A shorter caption is held longer where the next one leaves room.
        max_duration_s: A longer one is split.
        max_gap_s: A pause longer than this starts a new caption.
    """

    max_line_characters: int = Field(default=42, ge=10, le=200)
    max_lines: int = Field(default=2, ge=1, le=4)
    min_duration_s: float = Field(default=1.0, ge=0.0, le=10.0)
    max_duration_s: float = Field(default=7.0, ge=1.0, le=30.0)
    max_gap_s: float = Field(default=1.5, ge=0.1, le=10.0)

    @model_validator(mode="after")
    def _durations_agree(self) -> Self:
        if self.min_duration_s > self.max_duration_s:
            raise ValueError("min_duration_s is greater than max_duration_s")
        return self


class JobOptions(Value):
    """Options of one job.

    Attributes:
        language: ISO 639 code, or ``None`` to detect it.
        model: Alias of a speech model; ``None`` for the deployment's default.
        diarize: Whether to tell speakers apart.
        num_speakers: Their exact number, where known; excludes the bounds.
        min_speakers: Lower bound.
        max_speakers: Upper bound.
        captions: How captions are cut.
    """

    language: Language | None = None
    model: str | None = Field(default=None, max_length=100)
    diarize: bool = True
    num_speakers: SpeakerCount | None = None
    min_speakers: SpeakerCount | None = None
    max_speakers: SpeakerCount | None = None
    captions: CaptionRules = CaptionRules()

    @model_validator(mode="after")
    def _speaker_counts_agree(self) -> Self:
        bounds = (self.min_speakers, self.max_speakers)
        if self.num_speakers is not None and any(bound is not None for bound in bounds):
            raise ValueError("give num_speakers, or bounds, not both")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError("min_speakers is greater than max_speakers")
        if not self.diarize and any(count is not None for count in (self.num_speakers, *bounds)):
            raise ValueError("speaker counts mean nothing without diarization")
        return self
