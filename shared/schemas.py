"""The contracts as files: a JSON Schema (2020-12) for every document that leaves this system, and an AsyncAPI 3.0
document of its events.

Schemas say what is written: every property is there. They allow properties they do not list, because a reader must
ignore what a newer writer adds. Reports are the exception: they come from outside, so their schema says what must be
sent.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from shared.errors import CATALOGUE, PipelineError
from shared.events import (
    FACTS,
    Artifact,
    Event,
    Fact,
    JobCanceled,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobExpired,
    JobFailed,
    JobRetried,
    MediaRejected,
    MediaValidated,
    Metrics,
    StageCompleted,
    StageFailed,
    TranscriptEdited,
    TranscriptVersion,
    envelope,
)
from shared.jobs import Job
from shared.media import Media, ObjectInfo, Probe
from shared.requests import REPORT, StageRequest
from shared.stages import Kind
from shared.transcript import Transcript

# Of the contracts, by semantic versioning: an addition raises the second number, a break would raise the first.
VERSION = "0.1.0"

PUBLISHED: Mapping[str, type[Fact]] = MappingProxyType({name: fact for name, fact in FACTS.items() if fact.published})

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DOCUMENTS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"envelope": Event, "job": Job, "stage_request": StageRequest, "transcript": Transcript}
)


def contract_files() -> dict[str, str]:
    """Every contract as text, by its path below the folder of contracts."""
    documents: dict[str, Any] = {f"{name}.schema.json": _schema(name, model) for name, model in _DOCUMENTS.items()}
    documents["report.schema.json"] = _schema("report", REPORT, "validation")
    for name, fact in PUBLISHED.items():
        documents[f"events/{name}.schema.json"] = _schema(f"events:{name}", fact)
    documents["error_codes.json"] = error_codes()
    documents["asyncapi.json"] = asyncapi()
    return {path: _text(document) for path, document in sorted(documents.items())}


def error_codes() -> dict[str, Any]:
    """The catalogue of errors as plain data, by code."""
    return {
        spec.code: {"http_status": spec.http_status, "retryable": spec.retryable, "meaning": spec.meaning}
        for spec in CATALOGUE.values()
    }


def asyncapi() -> dict[str, Any]:
    """The events as an AsyncAPI 3.0 document."""
    names = {fact.__name__: name for name, fact in PUBLISHED.items()}
    examples = {example.type: example for example in event_examples()}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:earwitness:events",
        "info": {
            "title": "Earwitness events",
            "version": VERSION,
            "description": "Facts about jobs, each a CloudEvents 1.0 envelope in JSON. Delivered at least once, in "
            "order within one job: ignore an id that you have seen, and properties and types that you do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "events": {
                "address": "events",
                "title": "The topic",
                "description": "One topic for all events. Subscriptions filter by the attribute `type`.",
                "messages": {title: {"$ref": f"#/components/messages/{title}"} for title in names},
            }
        },
        "operations": {
            "publish": _operation("send", names, "Earwitness says what happened to a job."),
            "subscribe": _operation("receive", names, "Anyone may listen; Earwitness itself starts stages by it."),
        },
        "components": {
            "messages": {title: _message(FACTS[name], examples[name]) for title, name in names.items()},
            "schemas": _event_schemas(),
        },
    }


def event_examples() -> Iterator[Event]:
    """One event of each published type, each as it could be on the topic."""
    now = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
    for revision, fact in enumerate(_example_facts(), start=1):
        yield envelope(fact, tenant_id="acme", job_id="job_019bc0a4d6800b6e2f41c59a8d73", revision=revision, now=now)


def _example_facts() -> tuple[Fact, ...]:
    upload = ObjectInfo(
        bucket="earwitness-uploads",
        name="acme/job_019bc0a4d6800b6e2f41c59a8d73/media",
        generation=1768469400000001,
        size_bytes=1_048_576,
        content_type="audio/mp4",
        md5="1B2M2Y8AsgTpgAmY7PhCfg==",
    )
    probe = Probe(
        container="mov,mp4,m4a,3gp,3g2,mj2", audio_codec="aac", duration_s=61.4, sample_rate_hz=48_000, channels=1
    )
    words = Artifact(
        kind=Kind.WORDS,
        filename="words.json",
        object=ObjectInfo(
            bucket="earwitness-results",
            name="acme/job_019bc0a4d6800b6e2f41c59a8d73/words.json",
            generation=1768469460000002,
            size_bytes=20_480,
            content_type="application/json",
            md5="XUFAKrxLKna5cZ2REBfFkg==",
        ),
    )
    metrics = Metrics(audio_s=61.4, compute_s=7.9, load_s=0.0, model="tiny.en@0d3d19a32d33", device="cpu")
    timeout = PipelineError("stage.timeout").info
    transcript = words.object.model_copy(
        update={"name": "acme/job_019bc0a4d6800b6e2f41c59a8d73/transcript.v2.8f14e45fceea167a.json"}
    )
    edited = TranscriptVersion(
        number=2,
        at=datetime(2026, 1, 15, 9, 30, tzinfo=UTC),
        actor="key_019bc0a4d6800b6e2f41",
        change="speaker_named",
        summary="SPEAKER_00 got a name.",
        artifacts=(Artifact(kind=Kind.TRANSCRIPT, filename="transcript.v2.json", object=transcript),),
    )
    return (
        JobCreated(),
        MediaValidated(media=Media(object=upload, filename="interview.m4a", probe=probe)),
        MediaRejected(error=PipelineError("media.no_audio").info),
        StageCompleted(stage="transcribe", attempt=1, artifacts=(words,), metrics=metrics),
        StageFailed(stage="diarize", attempt=1, error=timeout, will_retry=True),
        JobCompleted(artifacts=(words,)),
        JobFailed(error=timeout),
        JobCanceled(),
        JobExpired(),
        JobRetried(),
        TranscriptEdited(version=edited),
        JobDeleted(),
    )


def _operation(action: Literal["send", "receive"], titles: Mapping[str, str], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/events"},
        "messages": [{"$ref": f"#/channels/events/messages/{title}"} for title in titles],
    }


def _message(fact: type[Fact], example: Event) -> dict[str, Any]:
    name = example.type
    summary, _ = _described(fact)
    return {
        "name": name,
        "title": fact.__name__,
        "summary": summary,
        "contentType": "application/cloudevents+json",
        "headers": {
            "type": "object",
            "description": "Attributes of the message.",
            "properties": {
                "type": {"const": name, "description": "The event's type, to filter by."},
                "tenant_id": {"type": "string", "description": "The owner of the job."},
                "job_id": {"type": "string", "description": "The job, and the ordering key."},
            },
            "required": ["type", "tenant_id", "job_id"],
        },
        "payload": {
            "allOf": [
                {"$ref": "#/components/schemas/Event"},
                {
                    "properties": {
                        "type": {"const": name},
                        "data": {"$ref": f"#/components/schemas/{fact.__name__}"},
                    }
                },
            ]
        },
        # The key is each message's own job id; a binding has no way to say so but by naming the attribute.
        "bindings": {"googlepubsub": {"orderingKey": "{job_id}", "bindingVersion": "0.2.0"}},
        "examples": [
            {
                "name": name,
                "headers": {"type": name, "tenant_id": example.tenantid, "job_id": example.jobid},
                "payload": example.model_dump(mode="json"),
            }
        ],
    }


class _ContractSchema(GenerateJsonSchema):
    """Pydantic's JSON Schema as a contract: open, every written property required, docstrings taken apart."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (the base class calls it so)
        """Titles of properties only repeat their names."""
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        """What is written is written whole; a tag is needed to tell what is read."""
        inner = field["schema"].get("schema", field["schema"])
        if field.get("serialization_exclude_if") is not None:  # it is left out where it says nothing
            return False
        return self.mode == "serialization" or inner["type"] == "literal" or super().field_is_required(field, total)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A default that is made anew each time is a default too."""
        document = super().default_schema(schema)
        factory = schema.get("default_factory")
        if factory is not None and not schema.get("default_factory_takes_data"):
            document.setdefault("default", self.encode_default(cast(Any, factory)()))
        return document

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Move what a docstring says of attributes to them, and allow more properties than there are."""
        document = super().model_schema(schema)
        document.pop("additionalProperties", None)
        summary, attributes = _described(schema["cls"])
        document["description"] = summary
        for name, text in attributes.items():
            document["properties"][name].setdefault("description", text)
        return document


def _schema(
    name: str, model: type[BaseModel] | TypeAdapter[Any], mode: Literal["serialization", "validation"] = "serialization"
) -> dict[str, Any]:
    make = model.json_schema if isinstance(model, TypeAdapter) else model.model_json_schema
    document = make(schema_generator=_ContractSchema, mode=mode)
    _tidy_enums(document.get("$defs", {}))
    return {"$schema": _DIALECT, "$id": f"urn:earwitness:contracts:{name}", **document}


def _event_schemas() -> dict[str, Any]:
    """The envelope and its payloads, with references that hold inside an AsyncAPI document."""
    models: list[type[BaseModel]] = [Event, *PUBLISHED.values()]
    _, document = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_ContractSchema,
    )
    schemas: dict[str, Any] = document["$defs"]
    _tidy_enums(schemas)
    return schemas


def _tidy_enums(definitions: dict[str, Any]) -> None:
    """Turn the docstrings of enums into Markdown; pydantic sets them after its generator has been asked."""
    for definition in definitions.values():
        if "enum" in definition:
            definition["description"] = _one_line(_markdown(definition["description"]))


def _described(documented: type) -> tuple[str, dict[str, str]]:
    """A Google-style docstring as what it says of the whole and of each attribute, in Markdown."""
    text = _markdown(inspect.cleandoc(documented.__doc__ or ""))
    whole, _, attributes = text.partition("\n\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", attributes, flags=re.MULTILINE)
    return _one_line(whole), {name: _one_line(meaning) for name, meaning in found}


def _markdown(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
