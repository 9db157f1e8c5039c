"""What a person changes of a transcript: names, who said what, and texts. Each change makes a new transcript."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Self

from pydantic import Field, model_validator

from shared.alignment import Room, realigned
from shared.errors import PipelineError
from shared.model import Value
from shared.transcript import Segment, Speaker, Transcript, Turn, Word

MAX_EDITS = 100
MAX_TEXT_CHARACTERS = 2000
# What aligning takes grows with the square of it.
MAX_WORDS = 500
SPEAKER_PATTERN = r"^SPEAKER_\d{2,3}$"


class Edit(Value):
    """One change of a text, or of who said it. Places are counted in the version that is edited.

    Attributes:
        segment: The segment that is changed, counted from 0 ...
        first_word: ... or the first of the words that are, counted through the transcript from 0.
        word_count: How many they are, in one segment; with 0 the text is put before ``first_word``.
        text: What stands there from now on, whole; empty to remove what was there.
        speaker: Who said this segment. An id that is not there yet adds a speaker.
    """

    segment: int | None = Field(default=None, ge=0)
    first_word: int | None = Field(default=None, ge=0)
    word_count: int = Field(default=0, ge=0, le=MAX_WORDS)
    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS)
    speaker: str | None = Field(default=None, pattern=SPEAKER_PATTERN)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if (self.segment is None) == (self.first_word is None):
            raise ValueError("give a segment, or its first word")
        if self.text is None and self.speaker is None:
            raise ValueError("give a text, or a speaker")
        if self.speaker is not None and self.segment is None:
            raise ValueError("only a whole segment can be given to another speaker")
        if self.segment is not None and self.word_count:
            raise ValueError("word_count belongs to first_word")
        return self


def named(transcript: Transcript, speaker: str, name: str | None) -> Transcript:
    """The transcript with another name for a speaker; ``None`` takes the name away.

    Raises:
        PipelineError: ``transcript.no_such_speaker``.
    """
    _speaker(transcript, speaker)
    return _with(
        transcript,
        speakers=[
            one.model_copy(update={"name": name}) if one.speaker == speaker else one for one in transcript.speakers
        ],
    )


def merged(transcript: Transcript, speakers: Sequence[str], into: str) -> Transcript:
    """The transcript with several speakers as one, who keeps its name, or gets the first that one of the others has.

    Raises:
        PipelineError: ``transcript.no_such_speaker``.
    """
    gone = [one for one in dict.fromkeys(speakers) if one != into]
    kept = _speaker(transcript, into)
    names = [kept.name, *(_speaker(transcript, one).name for one in gone)]
    kept = kept.model_copy(update={"name": next((name for name in names if name), None)})
    turns = [turn.model_copy(update={"speaker": into}) if turn.speaker in gone else turn for turn in transcript.turns]
    return _with(
        transcript,
        speakers=[
            _measured(kept, turns) if one.speaker == into else one
            for one in transcript.speakers
            if one.speaker not in gone
        ],
        segments=[_said_by(segment, into) if segment.speaker in gone else segment for segment in transcript.segments],
        turns=turns,
    )


def edited(transcript: Transcript, edits: Sequence[Edit]) -> Transcript:
    """The transcript with new texts on the old times, and segments given to other speakers.

    Words that stay keep their times exactly. A segment without any word left is gone.

    Raises:
        PipelineError: ``transcript.no_such_place``, also for one that two edits change.
    """
    offsets = _offsets(transcript)
    texts: dict[int, list[tuple[int, int, str]]] = {}
    speakers: dict[int, str] = {}
    for number, edit in enumerate(edits):
        try:
            segment, first, stop = _place(transcript, offsets, edit)
            if edit.text is not None:
                _add(texts.setdefault(segment, []), (first, stop, edit.text))
            if edit.speaker is not None and speakers.setdefault(segment, edit.speaker) != edit.speaker:
                raise ValueError("another edit gives this segment to someone else")
        except ValueError as error:
            raise PipelineError("transcript.no_such_place", f"edits.{number}: {error}.") from error
    for segment, speaker in sorted(speakers.items()):
        transcript = _given(transcript, segment, speaker)
    kept: list[Segment] = []
    pen = _Pen(transcript)
    for number, before in enumerate(transcript.segments):
        after = pen.rewritten(before, offsets[number], texts.get(number, ()))
        if after.words or not before.words:
            kept.append(after)
    return _with(transcript, segments=kept)


def _offsets(transcript: Transcript) -> list[int]:
    """The number of each segment's first word, and of the one after all."""
    offsets = [0]
    for segment in transcript.segments:
        offsets.append(offsets[-1] + len(segment.words))
    return offsets


def _place(transcript: Transcript, offsets: Sequence[int], edit: Edit) -> tuple[int, int, int]:
    """The segment that an edit changes, and the first word in it and the one after the last.

    Raises:
        ValueError: There is no such place.
    """
    if edit.segment is not None:
        if edit.segment >= len(transcript.segments):
            raise ValueError(f"there are {len(transcript.segments)} segments")
        count = len(transcript.segments[edit.segment].words)
        if edit.text is not None and count > MAX_WORDS:
            raise ValueError(f"a text can replace {MAX_WORDS} words at a time")
        return edit.segment, 0, count
    first = edit.first_word or 0
    if not transcript.segments or first + edit.word_count > offsets[-1]:
        raise ValueError(f"there are {offsets[-1]} words")
    # Words that are put behind all others belong to the last segment.
    segment = next((n for n in range(len(offsets) - 1) if first < offsets[n + 1]), len(offsets) - 2)
    if first + edit.word_count > offsets[segment + 1]:
        raise ValueError("the words are not all of one segment")
    return segment, first - offsets[segment], first - offsets[segment] + edit.word_count


def _add(places: list[tuple[int, int, str]], place: tuple[int, int, str]) -> None:
    first, stop, _ = place
    for other_first, other_stop, _ in places:
        if (first, stop) == (other_first, other_stop) or (first < other_stop and other_first < stop):
            raise ValueError("another edit changes these words")
    places.append(place)


class _Pen:
    """Writes texts into the segments of a transcript, one after the other: no two may take the time of one gap."""

    def __init__(self, transcript: Transcript) -> None:
        self._words = transcript.words
        self._duration_s = max([transcript.duration_s, *(word.end_s for word in self._words)])
        self._is_spaced = any(word.text[:1].isspace() for segment in transcript.segments for word in segment.words[1:])
        self._ended_s = 0.0

    def rewritten(self, segment: Segment, offset: int, texts: Iterable[tuple[int, int, str]]) -> Segment:
        """The segment, whose first word's number is ``offset``, with these texts in places of it."""
        words: list[Word] = []
        at = 0
        for first, stop, text in sorted(texts):
            words += segment.words[at:first]
            if first == stop == 0 and self._is_spaced and segment.words and not segment.words[0].text[:1].isspace():
                stop, text = 1, f"{text} {segment.words[0].text}"  # which gets a space
            following = offset + stop
            room = Room(
                words[-1].end_s if words else self._ended_s,
                self._words[following].start_s if following < len(self._words) else self._duration_s,
            )
            words += realigned(
                segment.words[first:stop],
                text,
                room,
                speaker=segment.speaker,
                is_spaced=self._is_spaced,
                is_leading=not words,
            )
            at = stop
        words += segment.words[at:]
        if words:
            self._ended_s = words[-1].end_s
        return _around(segment, words)


def _around(segment: Segment, words: Sequence[Word]) -> Segment:
    """The segment with other words; where its first or last word stays, it begins or ends as it did."""
    if not words or tuple(words) == segment.words:
        return segment.model_copy(update={"words": tuple(words)})
    old = segment.words
    is_same_start = bool(old) and words[0].start_s == old[0].start_s
    is_same_end = bool(old) and words[-1].end_s == old[-1].end_s
    start_s = segment.start_s if is_same_start else words[0].start_s
    end_s = segment.end_s if is_same_end else max(word.end_s for word in words)
    return segment.model_copy(update={"start_s": start_s, "end_s": end_s, "words": tuple(words)})


def _given(transcript: Transcript, number: int, speaker: str) -> Transcript:
    """The transcript with a segment given to another speaker, and what was diarised there too."""
    segment = transcript.segments[number]
    if segment.speaker == speaker:
        return transcript
    segments = list(transcript.segments)
    segments[number] = _said_by(segment, speaker)
    turns = list(chain.from_iterable(_split(turn, segment, speaker) for turn in transcript.turns))
    if segment.speaker is None:
        turns.append(Turn(speaker=speaker, start_s=segment.start_s, end_s=segment.end_s))
    turns.sort(key=lambda turn: turn.start_s)
    speakers = transcript.speakers
    if all(known.speaker != speaker for known in speakers):
        speakers = (*speakers, Speaker(speaker=speaker))
    changed = (speaker, segment.speaker)
    return _with(
        transcript,
        speakers=[_measured(one, turns) if one.speaker in changed else one for one in speakers],
        segments=segments,
        turns=turns,
    )


def _split(turn: Turn, segment: Segment, speaker: str) -> list[Turn]:
    """A turn, of which the part within a segment of its speaker becomes another's."""
    start_s, end_s = max(turn.start_s, segment.start_s), min(turn.end_s, segment.end_s)
    if turn.speaker != segment.speaker or start_s >= end_s:
        return [turn]
    spans = ((turn.speaker, turn.start_s, start_s), (speaker, start_s, end_s), (turn.speaker, end_s, turn.end_s))
    return [Turn(speaker=who, start_s=begin, end_s=stop) for who, begin, stop in spans if begin < stop]


def _said_by(segment: Segment, speaker: str) -> Segment:
    words = tuple(word.model_copy(update={"speaker": speaker}) for word in segment.words)
    return segment.model_copy(update={"speaker": speaker, "words": words})


def _speaker(transcript: Transcript, speaker: str) -> Speaker:
    for one in transcript.speakers:
        if one.speaker == speaker:
            return one
    raise PipelineError("transcript.no_such_speaker", f"There is no speaker '{speaker}' in this transcript.")


def _measured(speaker: Speaker, turns: Iterable[Turn]) -> Speaker:
    speech_s = sum(max(0.0, turn.end_s - turn.start_s) for turn in turns if turn.speaker == speaker.speaker)
    return speaker.model_copy(update={"speech_s": round(speech_s, 3)})


def _with(
    transcript: Transcript,
    *,
    speakers: Iterable[Speaker] | None = None,
    segments: Iterable[Segment] | None = None,
    turns: Iterable[Turn] | None = None,
) -> Transcript:
    parts = {"speakers": speakers, "segments": segments, "turns": turns}
    update = {name: tuple(part) for name, part in parts.items() if part is not None}
    return transcript.model_copy(update=update)
