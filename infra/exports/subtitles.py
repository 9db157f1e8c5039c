"""Captioned formats: SubRip, WebVTT, TTML and Advanced SubStation Alpha."""

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from infra.exports.cleaning import one_line
from shared.captions import Caption, captions
from shared.options import CaptionRules
from shared.transcript import Segment, Transcript, Word

if TYPE_CHECKING:
    from pysubs2 import SSAFile

# Keeps apart what would be markup together, and cannot be seen: U+2060 WORD JOINER.
_JOINER = "\u2060"

# pysubs2 thinks in SubStation: it drops what stands in braces and reads backslashes, in any format. These
# noncharacters stand in for them on the way through (no text has any: cleaning drops them).
_SHIELD = {"{": "\ufdd0", "}": "\ufdd1", "\\": "\ufdd2"}
_SHIELDED = str.maketrans(_SHIELD)
_UNSHIELDED = str.maketrans({stand_in: original for original, stand_in in _SHIELD.items()})

_TTML = "http://www.w3.org/ns/ttml"
_TTML_METADATA = "http://www.w3.org/ns/ttml#metadata"


def srt(transcript: Transcript, rules: CaptionRules) -> str:
    """SubRip. Where several speak, a caption in which the speaker changes begins with ``Label:``.

    SubRip has no escapes, and players take ``<b>`` and ``{\\an8}`` for markup; an invisible word joiner parts them.
    """
    transcript = _announced(transcript) if len(transcript.speakers) > 1 else transcript
    rows = [(caption, [_disarmed(line) for line in lines]) for caption, lines in _rows(transcript, rules)]
    return _write("srt", rows, {})


def _disarmed(line: str) -> str:
    return re.sub(r"(?<=[<{])|(?<=--)(?=>)", _JOINER, line)


def _announced(transcript: Transcript) -> Transcript:
    """The transcript with ``Label:`` before the first word after each change, so that it counts for line lengths."""
    segments: list[Segment] = []
    speaker: str | None = None
    for segment in transcript.segments:
        label = one_line(transcript.label(segment.speaker) or "")
        if label and segment.words and segment.speaker != speaker:
            first = segment.words[0]
            marked = Word(
                text=f" {label}: {first.text.lstrip()}",
                start_s=first.start_s,
                end_s=first.end_s,
                probability=first.probability,
                speaker=first.speaker,
            )
            segment = segment.model_copy(update={"words": (marked, *segment.words[1:])})
        speaker = segment.speaker
        segments.append(segment)
    return transcript.model_copy(update={"segments": tuple(segments)})


def vtt(transcript: Transcript, rules: CaptionRules) -> str:
    """WebVTT, speakers as voice spans: https://www.w3.org/TR/webvtt1/#webvtt-cue-voice-span."""
    rows = []
    for caption, clean in _rows(transcript, rules):
        lines = [escape(line, quote=False) for line in clean]
        label = one_line(transcript.label(caption.speaker) or "")
        if label:
            lines[0] = f"<v {escape(label, quote=False)}>{lines[0]}"
        rows.append((caption, lines))
    return _write("vtt", rows, {})


def ass(transcript: Transcript, rules: CaptionRules) -> str:
    """Advanced SubStation Alpha, speakers in the ``Name`` column.

    There is no escape that all renderers know (``\\{`` is libass's alone), so braces become their full-width
    likes, and a word joiner follows each backslash, which then means nothing.
    """
    inert = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": "\\" + _JOINER})
    rows = [(caption, [line.translate(inert) for line in lines]) for caption, lines in _rows(transcript, rules)]
    labels = {s.speaker: one_line(s.label).replace(",", ";").translate(inert) for s in transcript.speakers}
    return _write("ass", rows, labels)


def ttml(transcript: Transcript, rules: CaptionRules) -> str:
    """TTML 1, speakers as agents. Not by pysubs2, which leaves out ``xml:lang`` and agents and misnames ids."""
    from xml.etree import ElementTree as ET

    # Names without a prefix for the main vocabulary: some readers do not know namespaces.
    root = ET.Element("tt", {"xmlns": _TTML, "xmlns:ttm": _TTML_METADATA, "xml:lang": one_line(transcript.language)})
    metadata = ET.SubElement(ET.SubElement(root, "head"), "metadata")
    agents = {}
    for number, speaker in enumerate(transcript.speakers):
        agents[speaker.speaker] = f"speaker{number}"
        agent = ET.SubElement(metadata, "ttm:agent", {"type": "person", "xml:id": agents[speaker.speaker]})
        ET.SubElement(agent, "ttm:name", {"type": "full"}).text = one_line(speaker.label)
    division = ET.SubElement(ET.SubElement(root, "body"), "div")
    for caption, lines in _rows(transcript, rules):
        times = {"begin": _clock(caption.start_s), "end": _clock(caption.end_s)}
        agent_of = {"ttm:agent": agents[caption.speaker]} if caption.speaker in agents else {}
        paragraph = ET.SubElement(division, "p", times | agent_of)
        paragraph.text = lines[0]
        for line in lines[1:]:
            ET.SubElement(paragraph, "br").tail = line
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _rows(transcript: Transcript, rules: CaptionRules) -> Iterator[tuple[Caption, list[str]]]:
    """Captions with their lines clean. No line is empty: SubRip and WebVTT end a caption at an empty one."""
    for caption in captions(transcript, rules):
        lines = [line for line in map(one_line, caption.lines) if line]
        if lines:
            yield caption, lines


def _clock(time_s: float) -> str:
    seconds, milliseconds = divmod(round(time_s * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}"


def _write(name: str, rows: list[tuple[Caption, list[str]]], labels: Mapping[str, str]) -> str:
    """Have pysubs2 write captions whose lines are escaped for the format already."""
    from pysubs2 import SSAEvent, SSAFile

    subs: SSAFile = SSAFile()
    for caption, lines in rows:
        if name != "ass":
            lines = [line.translate(_SHIELDED) for line in lines]
        subs.append(
            SSAEvent(
                start=round(caption.start_s * 1000),
                end=round(caption.end_s * 1000),
                text=r"\N".join(lines),
                name=labels.get(caption.speaker or "", ""),
            )
        )
    text = StringIO()
    _writers()[name](subs, text)
    return text.getvalue().translate(_UNSHIELDED)


def _writers() -> Mapping[str, Callable[["SSAFile", StringIO], None]]:
    """The formats of pysubs2 without its limits on time.

    It moves every caption after 100 h (SubStation: 10 h) to that moment, though common players read any number of
    hours.
    """
    from pysubs2.formats.subrip import SubripFormat
    from pysubs2.formats.substation import SubstationFormat
    from pysubs2.formats.webvtt import WebVTTFormat

    class LongSubrip(SubripFormat):
        @staticmethod
        def ms_to_timestamp(ms: int) -> str:
            return _clock(ms / 1000).replace(".", ",")

    class LongWebVTT(WebVTTFormat):
        @staticmethod
        def ms_to_timestamp(ms: int) -> str:
            return _clock(ms / 1000)

    class LongSubstation(SubstationFormat):
        @staticmethod
        def ms_to_timestamp(requested_ms: int) -> str:
            return _clock((requested_ms + 5) // 10 / 100)[:-1].removeprefix("0")

    return {
        "srt": lambda subs, text: LongSubrip.to_file(subs, text, "srt", apply_styles=False),
        "vtt": lambda subs, text: LongWebVTT.to_file(subs, text, "vtt", apply_styles=False),
        "ass": lambda subs, text: LongSubstation.to_file(subs, text, "ass", header_notice=""),
    }
