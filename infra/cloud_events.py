"""Reading what triggers functions: objects that arrived, and events of the topic, in every form they come in."""

import base64
import json
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.errors import PipelineError
from shared.events import Event
from shared.media import ObjectInfo


class Delivery(Protocol):
    """What was delivered: a CloudEvent, or what Pub/Sub pushes without being asked for CloudEvents."""

    @property
    def data(self) -> Any:
        """The event's data."""
        ...


class _Resource(BaseModel):
    """An object as Cloud Storage describes it in its events."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)

    bucket: str
    name: str
    generation: int
    size: int = 0
    content_type: str = ""
    md5_hash: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)


class _Push(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: _Message


def finalized_object(delivery: Delivery) -> ObjectInfo | None:
    """The object that is complete now.

    Takes the data of a ``google.cloud.storage.object.v1.finalized`` event, and a bucket's notification to a topic of
    Pub/Sub. Notifications of something else than a complete object come to nothing: ``None``.

    Raises:
        PipelineError: ``request.invalid``.
    """
    try:
        resource = delivery.data
        if isinstance(resource, dict) and "message" in resource:
            message = _Push.model_validate(resource).message
            if message.attributes.get("eventType", "OBJECT_FINALIZE") != "OBJECT_FINALIZE":
                return None
            resource = json.loads(base64.b64decode(message.data, validate=True))
        found = _Resource.model_validate(resource)
    except ValueError as error:
        raise PipelineError("request.invalid", "This is not an object's finalize event.") from error
    return _object(found)


def _object(resource: _Resource) -> ObjectInfo:
    return ObjectInfo(
        bucket=resource.bucket,
        name=resource.name,
        generation=resource.generation,
        size_bytes=resource.size,
        content_type=resource.content_type,
        md5=resource.md5_hash,
    )


def delivery_id(delivery: Delivery) -> str | None:
    """Of the webhook delivery that a message asks for; ``None`` for a message of another kind."""
    try:
        return _Push.model_validate(delivery.data).message.attributes.get("delivery_id")
    except ValueError as error:
        raise PipelineError("request.invalid", "This is not a message of Pub/Sub.") from error


def topic_event(delivery: Delivery) -> Event:
    """The event inside a message of the topic: pushed as it is, or as a ``messagePublished`` CloudEvent.

    Raises:
        PipelineError: ``request.invalid``.
    """
    try:
        push = _Push.model_validate(delivery.data)
        return Event.from_json(base64.b64decode(push.message.data, validate=True))
    except ValueError as error:
        raise PipelineError("request.invalid", "This is not a message of the events topic.") from error
