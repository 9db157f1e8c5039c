"""A tenant who has one of everything that the API knows, and requests made from the OpenAPI document."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.api.app import create_app
from infra.api.openapi import operations
from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from shared.keys import SCOPES
from tests.clouds import Phone, behave, wait_for
from tests.media import encode, tone

DOCUMENT = create_app().openapi()
OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in operations(DOCUMENT)}
WAV = encode("wav", tone(1.0))
# Parts of a path that are no id of a tenant's: any value that is there will do.
INNER = {"speaker": "SPEAKER_00", "version": "1"}


def tenant(cloud: LocalCloud, name: str) -> Phone:
    """A client of a new tenant who may do everything."""
    return Phone(cloud.url, create_key(cloud.services, name, "all", scopes=tuple(SCOPES)).token)


def request(client: httpx.Client, operation_id: str, ids: dict[str, str], **more: Any) -> httpx.Response:
    """Send what an operation takes: the body of its example unless another is given."""
    path, method, operation = OPERATIONS[operation_id]
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content and "json" not in more:
        more["json"] = content["application/json"]["example"]
    return client.request(method.upper(), path.format(**{**INNER, **ids}), **more)


def path_ids(operation_id: str) -> list[str]:
    """The names of a tenant's ids in an operation's path."""
    _, _, operation = OPERATIONS[operation_id]
    named = [row["name"] for row in operation.get("parameters", ()) if row["in"] == "path"]
    return [name for name in named if name not in INNER]


@dataclass
class World:
    """What a tenant has: ids by the name of the parameter that they stand for."""

    phone: Phone
    ids: dict[str, list[str]] = field(default_factory=dict)

    @property
    def all_ids(self) -> list[str]:
        """Every id of the tenant."""
        return [one for found in self.ids.values() for one in found]


def build_world(cloud: LocalCloud, phone: Phone, folder: Path) -> World:
    """Jobs in every state, keys, webhook endpoints and deliveries."""
    behave(folder, transcribe={"words": 40}, diarize={"words": 40})
    completed = phone.send(WAV, metadata={"name": "secret-of-a"}, filename="secret-of-a.wav")
    rejected = phone.send(b"no recording")
    phone.wait(completed)
    phone.wait(rejected)
    waiting = phone.create()["job"]["job_id"]
    canceled = phone.create()["job"]["job_id"]
    assert phone.client.post(f"/v1/jobs/{canceled}/cancel").status_code == 200
    behave(folder, transcribe={"fail": {"code": "media.corrupt", "message": "Damaged.", "retryable": False}})
    failed = phone.send(WAV)
    phone.wait(failed)
    behave(folder, transcribe={"hang": True})
    running = phone.send(WAV)
    phone.wait(running, lambda job: job["state"] == "running")
    keys = [phone.client.post("/v1/keys", json={"name": "secret-of-a"}).json()["key"]["key_id"] for _ in range(2)]
    webhooks, deliveries = [], []
    for _ in range(2):
        made = phone.client.post("/v1/webhooks", json={"url": f"{cloud.url}/secret-of-a", "is_enabled": False})
        assert made.status_code == 201, made.text
        webhooks.append(made.json()["webhook"]["webhook_id"])
        ping = phone.client.post(f"/v1/webhooks/{webhooks[-1]}/ping")
        assert ping.status_code == 202, ping.text
        deliveries.append(ping.json()["delivery_id"])
    # Whatever is on its way has come to rest, so that every later change is a caller's.
    wait_for(lambda: all(phone.client.get(f"/v1/webhooks/deliveries/{one}").json()["attempts"] for one in deliveries))
    return World(
        phone,
        {
            "job_id": [completed, rejected, waiting, canceled, failed, running],
            "key_id": keys,
            "webhook_id": webhooks,
            "delivery_id": deliveries,
        },
    )
