"""A topic of Pub/Sub, and the plain client that publishes to it."""

import os

import grpc
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from infra.gcp.failures import translated

SERVICE = "Pub/Sub"


def open_topic(project: str, topic: str) -> tuple[PublisherClient, str]:
    """A client and a topic's path, with the credentials of this process, or of ``PUBSUB_EMULATOR_HOST``.

    Args:
        project: Its id.
        topic: The topic's name, without a path.

    Raises:
        PipelineError: ``service.unavailable`` when there are no credentials.
    """
    with translated(SERVICE):
        if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
            publisher = PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator)))
        else:
            publisher = PublisherClient()
        return publisher, publisher.topic_path(project, topic)
