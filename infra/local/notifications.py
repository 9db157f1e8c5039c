"""Finalize events, as Eventarc delivers Cloud Storage's."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

from shared.media import ObjectInfo


def finalized(info: ObjectInfo) -> tuple[dict[str, str], bytes]:
    """CloudEvent headers and body that say that an object is complete."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": quote(info.uri),
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{info.bucket}",
        "ce-subject": f"objects/{quote(info.name)}",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        # Generations are microseconds.
        "ce-time": datetime.fromtimestamp((info.generation or 0) / 1_000_000, UTC).isoformat(),
        "content-type": "application/json",
    }
    resource = {
        "kind": "storage#object",
        "bucket": info.bucket,
        "name": info.name,
        "generation": str(info.generation),
        "size": str(info.size_bytes),
        "contentType": info.content_type,
        "md5Hash": info.md5,
    }
    return headers, json.dumps(resource).encode()
