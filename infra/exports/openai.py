"""A transcript as OpenAI's endpoint for transcriptions answers it.

Source of the shapes: the types of the official ``openai`` client.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from infra.exports import FORMATS, render
from shared.events import PARTIAL_TEXT_CHARACTERS
from shared.options import CaptionRules
from shared.transcript import Segment, Transcript

# Besides captions, which are exports of ours.
JSON_FORMATS = ("json", "verbose_json", "diarized_json")
RESPONSE_FORMATS = (*JSON_FORMATS, "text", "srt", "vtt")

# What Whisper calls languages; it is what clients of that endpoint compare with.
_NAMES = (
    "en english,zh chinese,de german,es spanish,ru russian,ko korean,fr french,ja japanese,pt portuguese,tr turkish,"
    "pl polish,ca catalan,nl dutch,ar arabic,sv swedish,it italian,id indonesian,hi hindi,fi finnish,vi vietnamese,"
    "he hebrew,uk ukrainian,el greek,ms malay,cs czech,ro romanian,da danish,hu hungarian,ta tamil,no norwegian,"
    "th thai,ur urdu,hr croatian,bg bulgarian,lt lithuanian,la latin,mi maori,ml malayalam,cy welsh,sk slovak,"
    "te telugu,fa persian,lv latvian,bn bengali,sr serbian,az azerbaijani,sl slovenian,kn kannada,et estonian,"
    "mk macedonian,br breton,eu basque,is icelandic,hy armenian,ne nepali,mn mongolian,bs bosnian,kk kazakh,"
    "sq albanian,sw swahili,gl galician,mr marathi,pa punjabi,si sinhala,km khmer,sn shona,yo yoruba,so somali,"
    "af afrikaans,oc occitan,ka georgian,be belarusian,tg tajik,sd sindhi,gu gujarati,am amharic,yi yiddish,lo lao,"
    "uz uzbek,fo faroese,ht haitian creole,ps pashto,tk turkmen,nn nynorsk,mt maltese,sa sanskrit,lb luxembourgish,"
    "my myanmar,bo tibetan,tl tagalog,mg malagasy,as assamese,tt tatar,haw hawaiian,ln lingala,ha hausa,ba bashkir,"
    "jw javanese,su sundanese,yue cantonese"
)
LANGUAGES: Mapping[str, str] = MappingProxyType(dict(row.split(" ", 1) for row in _NAMES.split(",")))


def plain_text(segments: Sequence[Segment]) -> str:
    """What was said, as one line. Words bring the spaces that their language has between them."""
    return one_line("".join(word.text for segment in segments for word in segment.words))


def one_line(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def answer(
    transcript: Transcript, format: str, rules: CaptionRules, *, granularities: Sequence[str] = ()
) -> tuple[str, str]:
    """Body and media type of an answer.

    Args:
        transcript: Of a completed job.
        format: One of :data:`RESPONSE_FORMATS`.
        rules: How captions are cut.
        granularities: Of ``word`` and ``segment``, for ``verbose_json``; segments if left out.
    """
    text = plain_text(transcript.segments)
    if format in ("srt", "vtt"):
        return render(transcript, format, rules), FORMATS[format].media_type
    if format == "text":
        return f"{text}\n", "text/plain"
    body: dict[str, Any] = {"text": text, "usage": usage(transcript)}
    if format == "verbose_json":
        body |= _verbose(transcript, granularities)
    if format == "diarized_json":
        body |= {
            "task": "transcribe",
            "duration": transcript.duration_s,
            "segments": list(diarized_segments(transcript)),
        }
    return json.dumps(body, ensure_ascii=False), "application/json"


def usage(transcript: Transcript) -> dict[str, Any]:
    """What is counted: begun seconds of audio."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration_s)}


def diarized_segments(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """Segments with speakers, by letters in the order of their first appearance, or by the names they were given."""
    letters: dict[str, str] = {}
    for index, segment in enumerate(transcript.segments):
        speaker = segment.speaker or ""
        letter = letters.setdefault(speaker, _letter(len(letters)))
        label = transcript.label(segment.speaker)
        yield {
            "type": "transcript.text.segment",
            "id": f"seg_{index}",
            "start": segment.start_s,
            "end": segment.end_s,
            "speaker": letter if label in (None, speaker) else label,
            "text": segment.text,
        }


def _letter(index: int) -> str:
    """A to Z, then AA, AB, …"""
    letter = chr(ord("A") + index % 26)
    return letter if index < 26 else _letter(index // 26 - 1) + letter


def _verbose(transcript: Transcript, granularities: Sequence[str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGES.get(transcript.language, transcript.language),
        "duration": transcript.duration_s,
    }
    if "segment" in granularities or not granularities:
        body["segments"] = [_segment(index, segment) for index, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        body["words"] = [
            {"word": word.text.strip(), "start": word.start_s, "end": word.end_s} for word in transcript.words
        ]
    return body


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    """With what Whisper tells of a segment, as far as it can be told from its words."""
    encoded = segment.text.encode()
    logs = [math.log(max(word.probability, 1e-9)) for word in segment.words]
    return {
        "id": index,
        "seek": 0,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": sum(logs) / len(logs) if logs else 0.0,
        "compression_ratio": len(encoded) / len(zlib.compress(encoded)),
        "no_speech_prob": 0.0,
    }


class Deltas:
    """Turns what is heard so far, of which only the end is known, into pieces that are never taken back."""

    def __init__(self) -> None:
        self.sent = ""
        self._heard = ""

    def heard(self, end: str) -> str:
        """What is new, given the end of what was heard so far; nothing where it does not join what came before."""
        joint = next((n for n in range(min(len(self._heard), len(end)), -1, -1) if self._heard.endswith(end[:n])), 0)
        if not joint and (self._heard or len(end) >= PARTIAL_TEXT_CHARACTERS):
            return ""
        self._heard += end[joint:]
        return self._send(one_line(self._heard))

    def rest(self, text: str) -> str:
        """What is missing of the whole text.

        An attempt that was repeated may have heard something else: then nothing is added, and the whole text, which
        follows, is what counts.
        """
        return self._send(text)

    def _send(self, text: str) -> str:
        if not text.startswith(self.sent):
            return ""
        new, self.sent = text[len(self.sent) :], text
        return new
