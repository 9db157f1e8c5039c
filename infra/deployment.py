"""What is deployed where: what each function needs, who is told of which events, and what the stores are to hold.

One table for every way to a cloud. Terraform reads it as a file that :mod:`infra.contracts` writes; the README's way by
hand says the same, and a test compares them. Nothing here is read while the system runs.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.pipeline.sources import FETCHING_EVENTS
from infra.settings import Settings
from shared.protobuf import events_proto
from shared.stages import STAGES

# The longest that Pub/Sub waits for the answer to a push.
MAX_ACK_DEADLINE_S = 600

_ALL_SECRETS = ("report_keys", "modal_token_id", "modal_token_secret")


@dataclass(frozen=True)
class Function:
    """What one function needs where it is deployed.

    Attributes:
        entry_point: Its name in its bundle.
        trigger: ``public_http`` is open to anyone and checks its callers itself, ``http`` takes those that the
            platform lets through, ``finalize`` is told of every upload.
        memory: As Kubernetes writes it.
        cpu: Cores of one instance.
        timeout_s: Limit of one request.
        concurrency: Requests that one instance takes at once.
        max_instances: Instances that there may be at once.
        secrets: Secrets that it reads from its environment.
        needs_report_url: Whether it tells GPU jobs where to report.
        runtime: Of Google's.
    """

    entry_point: str
    trigger: Literal["public_http", "http", "finalize"]
    memory: str = "512Mi"
    cpu: str = "1"
    timeout_s: int = 60
    concurrency: int = 80
    max_instances: int = 100
    secrets: tuple[str, ...] = ()
    needs_report_url: bool = False
    runtime: str = "python311"


@dataclass(frozen=True)
class Subscription:
    """One push subscription.

    Attributes:
        topic: Which of the topics.
        function: Who is told.
        event_types: Of which types of event; of all where there are none.
        ack_deadline_s: How long an answer may take.
        min_retry_s: The pause after a first failed delivery.
        max_retry_s: The longest pause.
        max_delivery_attempts: After how many deliveries a message becomes a dead letter.
    """

    topic: Literal["events", "deliveries"]
    function: str
    event_types: tuple[str, ...] = ()
    ack_deadline_s: int = 60
    min_retry_s: int = 1
    max_retry_s: int = 60
    max_delivery_attempts: int = 20


# Where one instance takes one request at a time, or few, each may need most of its memory: a ten-hour transcript, or
# the probe of an upload.
FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        function.entry_point: function
        for function in (
            # It must outlast a stream of events, and a client that waits for its transcription.
            Function("api", "public_http", timeout_s=360),
            Function("fetch", "http", memory="2Gi", timeout_s=600, concurrency=4),
            Function("notify", "http"),
            Function("on_report", "public_http", secrets=_ALL_SECRETS),
            Function("on_upload", "finalize", memory="2Gi", timeout_s=120, concurrency=4),
            Function(
                "orchestrate",
                "http",
                memory="2Gi",
                timeout_s=540,
                concurrency=1,
                secrets=_ALL_SECRETS,
                needs_report_url=True,
            ),
            Function(
                "sweep",
                "http",
                memory="2Gi",
                timeout_s=540,
                concurrency=1,
                max_instances=1,
                secrets=_ALL_SECRETS,
                needs_report_url=True,
            ),
        )
    }
)

SUBSCRIPTIONS: Mapping[str, Subscription] = MappingProxyType(
    {
        "deliveries": Subscription("deliveries", "notify"),
        "fetch": Subscription(
            "events", "fetch", tuple(sorted(FETCHING_EVENTS)), ack_deadline_s=600, min_retry_s=10, max_retry_s=600
        ),
        "notify": Subscription("events", "notify"),
        "orchestrate": Subscription("events", "orchestrate", tuple(sorted(ORCHESTRATED_EVENTS)), ack_deadline_s=600),
    }
)

SWEEP: Mapping[str, str | int] = MappingProxyType(
    {"schedule": "* * * * *", "attempt_deadline_s": FUNCTIONS["sweep"].timeout_s}
)


def deployment() -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "stages": {
            stage.name: {
                "placement": stage.placement,
                "timeout_s": int(stage.timeout_s),
                "max_attempts": stage.max_attempts,
            }
            for stage in STAGES.values()
        },
        "functions": {name: asdict(function) for name, function in FUNCTIONS.items()},
        "subscriptions": {name: asdict(subscription) for name, subscription in SUBSCRIPTIONS.items()},
        "settings": sorted(f"EARWITNESS_{name.upper()}" for name in Settings.model_fields),
        "firestore": _firestore(),
        "cors": _cors(),
        "events_schema": {"type": "PROTOCOL_BUFFER", "definition": events_proto()},
        "sweep": dict(SWEEP),
    }


def _firestore() -> dict[str, Any]:
    declared = json.loads(_google("firestore.indexes.json"))
    overrides = [
        ({"collection": row["collectionGroup"], "field": row["fieldPath"]}, row) for row in declared["fieldOverrides"]
    ]
    return {
        "indexes": [
            {"collection": index["collectionGroup"], "fields": [_indexed(field) for field in index["fields"]]}
            for index in declared["indexes"]
        ],
        "ttl_fields": [field for field, row in overrides if row.get("ttl")],
        "exempt_fields": [field for field, row in overrides if row["indexes"] == []],
        "rules": _google("firestore.rules"),
    }


def _indexed(field: Mapping[str, str]) -> dict[str, str]:
    how = {"order": "order", "arrayConfig": "array_config"}
    return {
        "field_path": field["fieldPath"],
        **{ours: field[theirs] for theirs, ours in how.items() if theirs in field},
    }


def _cors() -> list[dict[str, Any]]:
    return [
        {
            "origin": rule["origin"],
            "method": rule["method"],
            "response_header": rule["responseHeader"],
            "max_age_seconds": rule["maxAgeSeconds"],
        }
        for rule in json.loads(_google("cors.json"))
    ]


def _google(name: str) -> str:
    return (files("infra") / "gcp" / name).read_text(encoding="utf-8")
