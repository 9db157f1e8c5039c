"""Reading the CloudEvents that trigger functions."""

import base64
import binascii
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import PipelineError
from shared.events import Event
from shared.media import ObjectInfo


class CloudEvent(Protocol):
    """What functions-framework hands over."""

    @property
    def data(self) -> Any:
        """The body."""
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

    data: str


class _Push(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: _Message = Field()


def finalized_object(event: CloudEvent) -> ObjectInfo:
    """The object of a ``google.cloud.storage.object.v1.finalized`` event.

    Raises:
        PipelineError: ``request.invalid``.
    """
    try:
        resource = _Resource.model_validate(event.data)
    except ValidationError as error:
        raise PipelineError("request.invalid", "This is not an object's finalize event.") from error
    return ObjectInfo(
        bucket=resource.bucket,
        name=resource.name,
        generation=resource.generation,
        size_bytes=resource.size,
        content_type=resource.content_type,
        md5=resource.md5_hash,
    )


def topic_event(event: CloudEvent) -> Event:
    """The event inside a ``google.cloud.pubsub.topic.v1.messagePublished`` event.

    Raises:
        PipelineError: ``request.invalid``.
    """
    try:
        push = _Push.model_validate(event.data)
        return Event.from_json(base64.b64decode(push.message.data, validate=True))
    except (ValidationError, binascii.Error) as error:
        raise PipelineError("request.invalid", "This is not a message of the events topic.") from error
