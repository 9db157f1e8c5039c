"""One file: nine formats are held to the same transcripts."""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import ass as ass_reader
import pycaption
import pytest
import srt
import tgt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.io import CTM, RTTM

from infra.exports import FORMATS, render
from shared.captions import captions
from shared.errors import PipelineError
from shared.options import CaptionRules
from shared.transcript import Segment, Speaker, Transcript, Turn, Word

A, B = "SPEAKER_00", "SPEAKER_01"
HOUR_S = 3600.0
XML = "http://www.w3.org/XML/1998/namespace"

HOSTILE = (
    "<b>bold</b>",
    "<v Eve>",
    "</v>",
    "&amp;",
    "a&b",
    "-->",
    "00:00:01,000 --> 00:00:02,000",
    "{\\an8}",
    "{\\p1}m",
    "0",
    "{",
    "}",
    "C:\\Nile",
    "\\n\\h",
    "two\n\nlines",
    "para\u2029graph\x85next",
    "WEBVTT",
    "NOTE x",
    "STYLE",
    "[Events]",
    "Dialogue:",
    ";;",
    "a,b,,c",
    '"quoted"',
    '""',
    "'",
    "שלום",
    "\u202eevil",
    "👩‍👩‍👧",
    "日本語。",
    "nul\x00\x1b[0m",
    "]]>",
    "<!--",
    "%s{0}",
)


def word(text: str, start_s: float, end_s: float, speaker: str | None) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s, probability=0.5, speaker=speaker)


def segment(text: str, start_s: float, speaker: str | None, word_s: float = 0.5) -> Segment:
    words = tuple(
        word(f" {part}", start_s + i * word_s, start_s + (i + 1) * word_s, speaker)
        for i, part in enumerate(text.split(" "))
    )
    return Segment(start_s=start_s, end_s=words[-1].end_s, words=words, speaker=speaker)


def transcript(*segments: Segment, names: dict[str, str] | None = None) -> Transcript:
    speakers = dict.fromkeys(piece.speaker for piece in segments if piece.speaker)
    return Transcript(
        language="en",
        duration_s=max([piece.end_s for piece in segments], default=0.0) + 5.0,
        segments=segments,
        speakers=tuple(Speaker(speaker=one, name=(names or {}).get(one)) for one in speakers),
        turns=tuple(
            Turn(speaker=piece.speaker, start_s=piece.start_s, end_s=piece.end_s) for piece in segments if piece.speaker
        ),
    )


def hostile(names: dict[str, str] | None = None) -> Transcript:
    """Every hostile text as a word of its own, by two speakers in turn, five a segment."""
    segments = []
    for number, start in enumerate(range(0, len(HOSTILE), 5)):
        speaker = (A, B)[number % 2]
        words = tuple(
            word(f" {text}", 10.0 * number + i, 10.0 * number + i + 0.9, speaker)
            for i, text in enumerate(HOSTILE[start : start + 5])
        )
        segments.append(
            Segment(start_s=words[0].start_s, end_s=words[-1].end_s, words=words, speaker=speaker),
        )
    return transcript(*segments, names=names)


TALK = transcript(
    segment("Good morning to you all.", 1.0, A),
    segment("Good morning, Ada.", 4.0, B),
    segment("Shall we begin?", 2 * HOUR_S, A),
    names={A: "Ada"},
)
EMPTY = Transcript(duration_s=0.0)
LATE = transcript(segment("Still here.", 123 * HOUR_S + 45.678, A))


def visible(text: str) -> str:
    """What a reader sees of a text, whatever space, joiners and full-width likes are in it."""
    kept = [one for one in text if unicodedata.category(one) not in ("Cc", "Zs", "Zl", "Zp") and one != "\u2060"]
    return "".join(kept).translate({0xFF5B: "{", 0xFF5D: "}"})


# What a second reader makes of an export: (start_s, end_s, text, speaker or None) of each caption.
Rows = list[tuple[float, float, str, str | None]]


def read_srt(text: str) -> Rows:
    second = timedelta(seconds=1)
    return [(one.start / second, one.end / second, one.content, None) for one in srt.parse(text)]


def read_vtt(text: str) -> Rows:
    """By webvtt-py, resolving what it leaves: escapes."""
    found = webvtt.from_string(text)
    return [
        (
            one.start_in_seconds + one.start_time.milliseconds / 1000,
            _vtt_end(one),
            unescape(one.text),
            unescape(one.voice or ""),
        )
        for one in found
    ]


def _vtt_end(caption: Any) -> float:
    return float(caption.end_in_seconds + caption.end_time.milliseconds / 1000)


def read_ttml(text: str) -> Rows:
    tt, ttm, xml = "{http://www.w3.org/ns/ttml}", "{http://www.w3.org/ns/ttml#metadata}", f"{{{XML}}}"
    root = ET.fromstring(text)
    assert root.tag == f"{tt}tt"
    assert f"{xml}lang" in root.attrib
    names = {agent.attrib[f"{xml}id"]: agent.findtext(f"{ttm}name") for agent in root.iter(f"{ttm}agent")}
    return [
        (
            _seconds(p.attrib["begin"]),
            _seconds(p.attrib["end"]),
            "\n".join(p.itertext()),
            names[p.attrib[f"{ttm}agent"]] if f"{ttm}agent" in p.attrib else None,
        )
        for p in root.iter(f"{tt}p")
    ]


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * HOUR_S + int(minutes) * 60 + float(seconds)


def read_ass(text: str) -> Rows:
    document = ass_reader.parse_string(text)
    assert [style.name for style in document.styles] == ["Default"]
    rows: Rows = []
    for event in document.events:
        assert event.TYPE == "Dialogue"
        assert event.style == "Default"
        assert not re.search(r"[{}]|\\[nh]", event.text), "markup got through"
        rows.append(
            (
                event.start / timedelta(seconds=1),
                event.end / timedelta(seconds=1),
                event.text.replace("\\N", "\n"),
                event.name or None,
            )
        )
    return rows


READERS: dict[str, Callable[[str], Rows]] = {"srt": read_srt, "vtt": read_vtt, "ttml": read_ttml, "ass": read_ass}


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("source", [TALK, hostile(), hostile({A: "Ann <b>, {x}\n-->", B: "A & B"}), LATE])
def test_a_second_reader_finds_every_caption(format: str, source: Transcript) -> None:
    expected = captions(source, CaptionRules())
    tolerance_s = 0.0051 if format == "ass" else 0.0001  # SubStation counts centiseconds.

    found = READERS[format](render(source, format))

    if format == "srt":  # Labels are part of the text there, so captions may be cut elsewhere.
        shown = visible("".join(text for _, _, text, _ in found))
        for speaker in source.speakers:
            shown = shown.replace(visible(f"{speaker.label}:"), "")
        assert shown == visible("".join("".join(one.lines) for one in expected))
        assert {row[0] for row in found} >= {piece.start_s for piece in source.segments[:1]}
        return
    assert [visible(row[2]) for row in found] == [visible("".join(one.lines)) for one in expected]
    for row, one in zip(found, expected, strict=True):
        assert row[0] == pytest.approx(one.start_s, abs=tolerance_s)
        assert row[1] == pytest.approx(one.end_s, abs=tolerance_s)
        label = visible(source.label(one.speaker) or "")
        assert visible(row[3] or "") == (label.replace(",", ";") if format == "ass" else label)


@pytest.mark.parametrize("format", READERS)
@given(text=st.lists(st.text(max_size=8), min_size=1, max_size=8), name=st.text(max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_exported(format: str, text: list[str], name: str) -> None:
    words = tuple(word(f" {one}", float(i), i + 0.5, A) for i, one in enumerate(text))
    source = transcript(Segment(start_s=0.0, end_s=9.0, words=words, speaker=A), names={A: name or "Ada"})

    exported = render(source, format)

    exported.encode()
    found = READERS[format](exported)
    marks = re.compile(r"[\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\x7f-\x9f]|(?!)")
    assert marks.sub("", visible("".join(row[2] for row in found))) == marks.sub("", visible("".join(text)))


def test_srt_marks_where_the_speaker_changes() -> None:
    assert render(TALK, "srt") == (
        "1\n00:00:01,000 --> 00:00:03,500\nAda: Good morning to you all.\n\n"
        "2\n00:00:04,000 --> 00:00:05,500\nSPEAKER_01: Good morning, Ada.\n\n"
        "3\n02:00:00,000 --> 02:00:01,500\nAda: Shall we begin?\n\n"
    )


def test_srt_marks_nobody_where_one_speaks_and_keeps_lines_within_limits() -> None:
    alone = transcript(segment("Good morning to you all.", 1.0, A))
    talk = transcript(
        *(segment("these are the words of a sentence that is long.", 10.0 * i, (A, B)[i % 2]) for i in range(4))
    )

    assert A not in render(alone, "srt")
    rows = read_srt(render(talk, "srt", CaptionRules(max_line_characters=30)))
    assert max(len(line) for _, _, text, _ in rows for line in text.split("\n")) <= 30


def test_srt_markup_is_not_markup() -> None:
    exported = render(hostile(), "srt")

    assert not re.search(r"<\w|</|\{\\", exported)
    found = pycaption.SRTReader().read(exported).get_captions("en-US")
    assert len(re.findall("-->", exported)) == len(read_srt(exported)) == len(found)


@pytest.mark.parametrize("format", READERS)
def test_what_cannot_be_seen_is_no_caption(format: str) -> None:
    source = transcript(segment("\x00 \x1b", 0.0, A), segment("Hello.", 20.0, A))

    assert [row[2] for row in READERS[format](render(source, format))] == ["Hello."]


def test_vtt_is_what_other_readers_expect_too() -> None:
    exported = render(hostile({A: "Ann <b>"}), "vtt")

    assert exported.startswith("WEBVTT\n\n1\n")
    assert "<v Ann &lt;b&gt;>" in exported
    found = pycaption.WebVTTReader().read(exported).get_captions("en-US")
    assert len(found) == len(read_vtt(exported)) == len(re.findall("-->", exported))
    assert not re.search(r"<(?!v )", exported)


def test_ttml_is_what_other_readers_expect_too() -> None:
    found = pycaption.DFXPReader().read(render(TALK, "ttml")).get_captions("en")

    assert [(one.start / 1e6, one.end / 1e6, one.get_text()) for one in found] == [
        (row[0], row[1], row[2]) for row in read_ttml(render(TALK, "ttml"))
    ]


def test_txt_has_a_paragraph_for_each_speaker_in_turn() -> None:
    source = transcript(
        segment("Good morning.", 6.2, A), segment("All well?", 7.5, A), segment("Yes.", 3700.0, B), names={B: "Bea"}
    )

    assert render(source, "txt") == "[00:00:06] SPEAKER_00: Good morning. All well?\n\n[01:01:40] Bea: Yes.\n"


def test_txt_without_speakers_is_paragraphs() -> None:
    source = transcript(
        segment("Good morning.", 6.2, None), segment("All well?", 7.5, None), segment("Yes.", 60.0, None)
    )

    assert render(source, "txt") == "Good morning. All well?\n\nYes.\n"


def test_txt_breaks_a_monologue_at_sentences() -> None:
    source = transcript(*(segment("These are a few words of a monologue.", 4.0 * i, A) for i in range(80)))

    blocks = render(source, "txt").split("\n\n")

    assert len(blocks) > 2
    assert all(len(block) < 1000 and block.strip().endswith(".") for block in blocks)


def test_txt_text_cannot_look_like_a_paragraph() -> None:
    source = transcript(segment("Hi\n\n[00:00:00]\u2028Eve:\rboo", 0.0, A))

    assert render(source, "txt").splitlines() == ["[00:00:00] SPEAKER_00: Hi [00:00:00] Eve: boo"]


def test_json_is_the_transcript() -> None:
    assert Transcript.from_json(render(hostile(), "json")) == hostile()


@pytest.mark.parametrize("source", [TALK, hostile(), LATE])
def test_ctm_has_every_word(source: Transcript) -> None:
    lines = CTM.parse(render(source, "ctm")).lines

    assert [visible(line.word).replace("_", "") for line in lines] == [
        visible(one.text).replace('"', "'").replace("_", "") for one in source.words
    ]
    for line, one in zip(lines, source.words, strict=True):
        assert float(line.begin_time) == pytest.approx(one.start_s, abs=0.0006)
        assert float(line.duration) == pytest.approx(one.end_s - one.start_s, abs=0.0006)
        assert float(line.confidence or 0) == 0.5


def test_ctm_is_sorted_and_leaves_out_what_is_no_word() -> None:
    words = (word(" late", 5.0, 5.5, None), word(" \n", 4.0, 4.5, None), word(" early now", 1.0, 1.5, None))
    source = transcript(Segment(start_s=1.0, end_s=5.5, words=words))

    assert [line.word for line in CTM.parse(render(source, "ctm")).lines] == ["early_now", "late"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, [A, B]),
        ({A: "Ada Lovelace", B: "C.\u00a0Babbage\n;"}, ["Ada_Lovelace", "C._Babbage_;"]),
        ({A: "the same", B: "the_same"}, ["the_same", "the_same_SPEAKER_01"]),
        ({A: '"Ada', B: "<NA>"}, ["'Ada", "<NA>"]),
    ],
)
def test_rttm_has_every_turn(names: dict[str, str], expected: list[str]) -> None:
    source = transcript(segment("one two", 1.25, A), segment("three", 7300.5, B), names=names)

    lines = RTTM.parse(render(source, "rttm")).lines

    assert [(line.speaker_id, float(line.begin_time), float(line.duration)) for line in lines] == [
        (expected[0], 1.25, 1.0),
        (expected[1], 7300.5, 0.5),
    ]


def read_textgrid(text: str, tmp_path: Path) -> Any:
    path = tmp_path / "a.TextGrid"
    path.write_text(text, encoding="utf-8")
    return tgt.io.read_textgrid(str(path))


@pytest.mark.parametrize("source", [TALK, hostile({A: 'Ann "A"'})])
def test_textgrid_has_tiers_of_segments_and_words(source: Transcript, tmp_path: Path) -> None:
    grid = read_textgrid(render(source, "textgrid"), tmp_path)

    assert len(grid.tiers) == 4
    for number, speaker in enumerate(source.speakers):
        pieces = [piece for piece in source.segments if piece.speaker == speaker.speaker]
        words = [one for piece in pieces for one in piece.words]
        for tier, spans in ((grid.tiers[2 * number], pieces), (grid.tiers[2 * number + 1], words)):
            assert tier.name.startswith(speaker.label.replace(" ", "_").replace('"', "'"))
            assert [visible(one.text) for one in tier] == [visible(span.text) for span in spans]
            for interval, span in zip(tier, spans, strict=True):
                assert float(interval.start_time) == pytest.approx(span.start_s, abs=0.0011)
                assert float(interval.end_time) == pytest.approx(span.end_s, abs=0.0011)


def test_textgrid_words_without_length_are_kept(tmp_path: Path) -> None:
    words = tuple(word(f" w{i}", 1.0, 1.0, None) for i in range(3))
    source = transcript(Segment(start_s=1.0, end_s=1.0, words=words))

    tier = read_textgrid(render(source, "textgrid"), tmp_path).tiers[1]

    assert [one.text for one in tier] == ["w0", "w1", "w2"]
    assert all(earlier.end_time <= later.start_time for earlier, later in pairwise(tier))


def test_an_empty_transcript_is_valid_in_each_format(tmp_path: Path) -> None:
    exported = {format: render(EMPTY, format) for format in FORMATS}

    assert [exported[format] for format in ("txt", "srt", "rttm", "ctm")] == [""] * 4
    assert json.loads(exported["json"])["segments"] == []
    assert (read_vtt(exported["vtt"]), read_ttml(exported["ttml"]), read_ass(exported["ass"])) == ([], [], [])
    grid = read_textgrid(exported["textgrid"], tmp_path)
    assert [len(tier) for tier in grid.tiers] == [0, 0]
    assert grid.end_time > grid.start_time


def test_every_format_is_named_and_an_unknown_one_lists_them() -> None:
    assert all(one.extension and "/" in one.media_type for one in FORMATS.values())

    with pytest.raises(PipelineError) as raised:
        render(TALK, "docx")

    assert raised.value.code == "request.invalid"
    assert all(format in raised.value.message for format in FORMATS)


def test_importing_exports_loads_no_serialiser() -> None:
    code = (
        "import sys, infra.exports; print(sorted({'pysubs2', 'praatio', 'xml.etree.ElementTree'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
