"""Exports: a transcript in the formats that players, editors and scorers read.

Whatever is in a transcript was said by someone unknown or typed by a stranger, so no text may end a line, a column
or a cue, nor be taken for markup: each format escapes where it can and disarms where it has no escape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from infra.exports.prose import txt
from infra.exports.rows import ctm, rttm
from infra.exports.subtitles import ass, srt, ttml, vtt
from infra.exports.textgrid import textgrid
from shared.errors import PipelineError
from shared.options import CaptionRules
from shared.transcript import Transcript

__all__ = ["FORMATS", "ExportFormat", "check_format", "render"]


@dataclass(frozen=True)
class ExportFormat:
    """What a format is called elsewhere.

    Attributes:
        media_type: For ``Content-Type``; all are UTF-8.
        extension: Of a file name, without the dot.
    """

    media_type: str
    extension: str


FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "json": ExportFormat("application/json", "json"),
        "txt": ExportFormat("text/plain", "txt"),
        "srt": ExportFormat("application/x-subrip", "srt"),
        "vtt": ExportFormat("text/vtt", "vtt"),
        "ttml": ExportFormat("application/ttml+xml", "ttml"),
        "ass": ExportFormat("text/x-ssa", "ass"),
        "rttm": ExportFormat("text/plain", "rttm"),
        "ctm": ExportFormat("text/plain", "ctm"),
        "textgrid": ExportFormat("text/plain", "TextGrid"),
    }
)

_CAPTIONED: Mapping[str, Callable[[Transcript, CaptionRules], str]] = {"srt": srt, "vtt": vtt, "ttml": ttml, "ass": ass}
_WHOLE: Mapping[str, Callable[[Transcript], str]] = {
    "json": Transcript.to_json,
    "txt": txt,
    "rttm": rttm,
    "ctm": ctm,
    "textgrid": textgrid,
}


def check_format(format: str) -> None:
    """Refuse a format that is not known.

    Raises:
        PipelineError: ``request.invalid``.
    """
    if format not in FORMATS:
        message = f"No such export format; there are {', '.join(FORMATS)}."
        raise PipelineError("request.invalid", message, field="format", formats=list(FORMATS))


def render(transcript: Transcript, format: str, rules: CaptionRules = CaptionRules()) -> str:  # noqa: B008 - frozen
    """Write a transcript in a format of :data:`FORMATS`.

    Args:
        transcript: May be empty; the result is valid all the same.
        format: A name, in lower case.
        rules: How captions are cut, for the formats that have captions.

    Raises:
        PipelineError: ``request.invalid`` for a format that is not known.
    """
    check_format(format)
    if format in _CAPTIONED:
        return _CAPTIONED[format](transcript, rules)
    return _WHOLE[format](transcript)
