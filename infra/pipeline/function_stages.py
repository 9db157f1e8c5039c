"""Stages that run inside a function: pure work on small artifacts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.exports import render
from shared.attribution import attribute
from shared.options import JobOptions
from shared.stages import Kind
from shared.transcript import Diarization, Notice, Recognition, Transcript


@dataclass(frozen=True)
class StageResult:
    """Files by name, and what is worth telling."""

    files: Mapping[str, bytes]
    notices: tuple[Notice, ...] = ()


Inputs = Mapping[Kind, bytes]


def _attribute(_options: JobOptions, inputs: Inputs) -> StageResult:
    turns = inputs.get(Kind.TURNS)
    transcript = attribute(
        Recognition.from_json(inputs[Kind.WORDS]), Diarization.from_json(turns) if turns is not None else None
    )
    return StageResult({"transcript.json": transcript.to_json().encode()}, transcript.notices)


def _caption(options: JobOptions, inputs: Inputs) -> StageResult:
    transcript = Transcript.from_json(inputs[Kind.TRANSCRIPT])
    return StageResult(
        {
            f"captions.{extension}": render(transcript, extension, options.captions).encode()
            for extension in ("srt", "vtt")
        }
    )


FUNCTION_STAGES: Mapping[str, Callable[[JobOptions, Inputs], StageResult]] = {
    "attribute": _attribute,
    "caption": _caption,
}
