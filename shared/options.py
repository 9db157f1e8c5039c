"""What a caller may ask of a job."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.model import Value

# Whisper's prompt has about 220 tokens, of which hotwords may take as many: characters beyond these could not be heard.
MAX_PROMPT_CHARACTERS = 1000


Language = Annotated[str, StringConstraints(pattern=re.compile(r"^[a-z]{2,3}$"))]
SpeakerCount = Annotated[int, Field(ge=1, le=50)]
Hotword = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=re.compile(r"^[^\r\n]*\S[^\r\n]*$"))]
Priority = Literal["high", "normal", "low"]
StageName = Annotated[str, StringConstraints(pattern=re.compile(r"^[a-z]{1,20}$"))]


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
        hotwords: Names and terms that are likely to be said, spelled as they are to be written.
        initial_prompt: Text as it could come before: in what language, style and spelling to write.
        stages: Which stages are run beside the validation, as :func:`shared.stages.check_stages` allows; ``None`` for
            all that the other options ask for.
        captions: How captions are cut.
        priority: Whose turn it is first where GPU stages of several jobs wait for one worker; within a priority the
            first that came. It changes nothing of the result, and nothing where workers are added instead.
    """

    language: Language | None = None
    model: str | None = Field(default=None, max_length=100)
    diarize: bool = True
    num_speakers: SpeakerCount | None = None
    min_speakers: SpeakerCount | None = None
    max_speakers: SpeakerCount | None = None
    hotwords: tuple[Hotword, ...] = Field(default=(), max_length=100)
    initial_prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    stages: tuple[StageName, ...] | None = Field(default=None, min_length=1, max_length=20)
    captions: CaptionRules = CaptionRules()
    priority: Priority = "normal"

    @model_validator(mode="after")
    def _speaker_counts_agree(self) -> Self:
        bounds = (self.min_speakers, self.max_speakers)
        if self.num_speakers is not None and any(bound is not None for bound in bounds):
            raise ValueError("give num_speakers, or bounds, not both")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError("min_speakers is greater than max_speakers")
        is_diarized = self.diarize and (self.stages is None or "diarize" in self.stages)
        if not is_diarized and any(count is not None for count in (self.num_speakers, *bounds)):
            raise ValueError("speaker counts mean nothing without diarization")
        if not self.diarize and self.stages and "diarize" in self.stages:
            raise ValueError("stages has diarize, which is not wanted")
        return self

    @model_validator(mode="after")
    def _hotwords_fit(self) -> Self:
        if sum(len(word) + 2 for word in self.hotwords) > MAX_PROMPT_CHARACTERS:
            raise ValueError(f"hotwords have more than {MAX_PROMPT_CHARACTERS} characters together")
        return self
