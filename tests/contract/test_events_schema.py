"""The schema of the topic of events: what is really published fits it, and what is no event does not.

Google's emulator knows no schemas in Protocol Buffers, so protobuf's own parser says what fits.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message
from pydantic import BaseModel

from infra.gcp import delivery_queue
from shared import protobuf
from shared.events import Event, MediaValidated, Metrics, StageCompleted, StageFailed, envelope
from shared.media import Media, ObjectInfo
from shared.model import Value
from shared.protobuf import FIELDS, events_proto
from shared.schemas import PUBLISHED, event_examples
from shared.transcript import NO_SPEECH
from shared.webhooks import Delivery
from tests.contract.proto_definition import message_class, proto_incompatibilities, read_proto
from tests.contract.stories import NOW
from tests.contract.test_contracts import stories

# What Google takes at most.
MAX_DEFINITION_BYTES = 300 * 1024
RELEASED = sorted((Path(__file__).parent / "released").glob("*/events.proto"))
EVENT = message_class(events_proto())


def read(data: str | bytes) -> Message:
    return Parse(data, EVENT())


def without_nothing(data: Any) -> Any:
    """Plain data without what Protocol Buffers does not tell from nothing; long numbers are text there."""
    if isinstance(data, dict):
        return {key: kept for key, value in data.items() if (kept := without_nothing(value)) not in (None, "", {}, [])}
    if isinstance(data, list):
        return [without_nothing(value) for value in data]
    if isinstance(data, bool | float | int):
        return str(data) if data else None
    return data


def events() -> Iterator[Event]:
    yield from event_examples()
    for story in stories():
        yield from story.events
    largest = ObjectInfo(bucket="b", name="t/ünï/片.wav", generation=2**63 - 1, size_bytes=2**63 - 1)
    for value in (Metrics(), Metrics(compute_s=float("inf"), cost_usd=0.25), Metrics(audio_s=36_000.0, cost_usd=None)):
        fact = StageCompleted(stage="transcribe", attempt=3, metrics=value)
        yield envelope(fact, tenant_id="t", job_id="j", revision=1, now=NOW, traceparent="00-1-2-01")
    received = MediaValidated(media=Media(object=largest, filename="片.wav"), reused_from="job_2", notices=(NO_SPEECH,))
    yield envelope(received, tenant_id="t", job_id="j", revision=2, now=NOW)


def test_every_event_fits_and_nothing_of_it_is_lost() -> None:
    seen = set()
    for event in events():
        message = read(event.to_json())
        told = MessageToDict(message, preserving_proto_field_name=True)
        assert without_nothing(told) == without_nothing(json.loads(event.to_json()))
        assert EVENT.FromString(message.SerializeToString()) == message
        seen.add(event.type)
    assert seen == PUBLISHED.keys()


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "garbage",
        "null",
        "[1]",
        '"event"',
        '{"novel": 1}',
        '{"id": 1}',
        '{"id": {}}',
        '{"time": ["2026-01-01"]}',
        '{"data": "media.validated"}',
        '{"data": [1]}',
        '{"data": {"novel": 1}}',
        '{"data": {"attempt": "first"}}',
        '{"data": {"attempt": 1.5}}',
        '{"data": {"attempt": 9223372036854775808}}',
        '{"data": {"has_source": "yes"}}',
        '{"data": {"artifacts": {}}}',
        '{"data": {"artifacts": [{"object": {"size_bytes": "many"}}]}}',
        '{"data": {"metrics": {"cost_usd": "cheap"}}}',
        '{"data": {"error": "internal"}}',
    ],
)
def test_what_is_no_event_is_refused(garbage: str) -> None:
    with pytest.raises(ParseError):
        read(garbage)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_an_event_that_was_cut_is_refused(cut: int) -> None:
    for event in event_examples():
        with pytest.raises(ParseError):
            read(event.to_json()[:-cut])


def test_a_dead_letter_of_a_webhook_may_be_replayed_on_the_topic() -> None:
    """It goes there as events do. Its attributes say all and its data nothing, which fits: no field is demanded."""
    delivery = Delivery(
        document_id="whd_1", tenant_id="t", endpoint_id="e", event_id="e", type="t", at=NOW, created_at=NOW,
        started_at=NOW, not_before=None,
    )  # fmt: skip
    assert read(delivery_queue._message(delivery).data) == EVENT()


def test_the_definition_is_one_that_google_takes() -> None:
    file = read_proto(events_proto())
    assert [message.name for message in file.message_type] == ["Event"]  # exactly one, and nothing is imported
    assert (file.syntax, list(file.dependency)) == ("proto3", [])
    assert len(events_proto().encode()) < MAX_DEFINITION_BYTES


def test_every_property_of_an_event_is_in_the_definition() -> None:
    (event,) = read_proto(events_proto()).message_type
    messages = {"Event": event, **{message.name: message for message in event.nested_type}}
    assert [field.name for field in event.field] == list(Event.model_fields)
    assert {field.name for field in messages["Data"].field} == {
        name for fact in PUBLISHED.values() for name in fact.model_fields
    }
    assert {name: tuple(field.name for field in row.field) for name, row in messages.items()} == dict(FIELDS)


# --- numbers are for ever ----------------------------------------------------------------------------------------


def test_there_is_a_release_to_compare_with() -> None:
    """That each keeps its numbers is among what every release keeps: ``test_contracts.py``."""
    assert RELEASED


@pytest.mark.parametrize("release", RELEASED, ids=lambda path: path.parent.name)
def test_what_is_published_now_is_read_by_who_knows_a_release(release: Path) -> None:
    """As bytes, where a reader passes over the fields that it does not know."""
    earlier = message_class(release.read_text("utf-8"))
    for event in event_examples():
        assert earlier.FromString(read(event.to_json()).SerializeToString()).id == event.id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optional string id = 2;", ""),
        ("optional string id = 2;", "optional string id = 12;"),
        ("optional string id = 2;", "optional string key = 2;"),
        ("optional string id = 2;", "optional int64 id = 2;"),
        ("optional string id = 2;", "repeated string id = 2;"),
        ("optional Metrics metrics = 10;", "optional Media metrics = 10;"),
        ("repeated Artifact artifacts = 9;", "optional Artifact artifacts = 9;"),
        ("optional double cost_usd = 6;", "optional string cost_usd = 6;"),
    ],
)
def test_the_comparer_finds_what_breaks(old: str, new: str) -> None:
    assert events_proto().count(old) == 1
    assert list(proto_incompatibilities(events_proto(), events_proto().replace(old, new)))


def test_the_comparer_allows_additions() -> None:
    more = events_proto().replace("Data data = 11;", "Data data = 11;\n  optional string novelty = 12;")
    assert list(proto_incompatibilities(events_proto(), more)) == []


def test_a_field_that_pubsub_would_not_take_later_is_none_of_ours() -> None:
    with pytest.raises(ValueError, match="not understood"):
        read_proto(events_proto().replace("optional string id", "string id"))


def test_a_number_must_be_given_to_a_new_property_and_none_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "FIELDS", {**FIELDS, "Notice": ("code",)})
    with pytest.raises(ValueError, match=r"add to the end of FIELDS\['Notice'\]: message"):
        events_proto()
    monkeypatch.setattr(protobuf, "FIELDS", {**FIELDS, "Notice": ("code", "message", "level")})
    with pytest.raises(ValueError, match="Notice has no level any more"):
        events_proto()
    monkeypatch.setattr(protobuf, "FIELDS", {name: row for name, row in FIELDS.items() if name != "Notice"})
    with pytest.raises(ValueError, match="FIELDS has no row for Notice"):
        events_proto()


def test_two_events_cannot_mean_different_things_by_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class StageNumbered(StageFailed):
        stage: int  # type: ignore[assignment]

    monkeypatch.setattr(protobuf, "PUBLISHED", {**PUBLISHED, "stage.numbered": StageNumbered})
    with pytest.raises(ValueError, match=r"StageNumbered\.stage is something else in another event"):
        events_proto()


@pytest.mark.parametrize("annotation", [dict[str, str], int | str, tuple[int, str], object])
def test_what_no_schema_can_say_is_refused(annotation: Any) -> None:
    class Loose(Value):
        anything: annotation

    assert issubclass(Loose, BaseModel)
    with pytest.raises(ValueError, match="no type of Protocol Buffers"):
        protobuf._properties(Loose)
