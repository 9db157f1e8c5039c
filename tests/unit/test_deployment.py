"""What is deployed: that the table is whole, keeps the platform's limits, and that its parts agree with each other."""

import json
from pathlib import Path

import pytest

from infra.bundle import CONTENTS
from infra.deployment import FUNCTIONS, MAX_ACK_DEADLINE_S, SUBSCRIPTIONS, SWEEP, deployment
from infra.pipeline.function_stages import FUNCTION_STAGES
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.pipeline.sources import FETCHING_EVENTS
from infra.settings import Settings
from shared.protobuf import events_proto
from shared.schemas import PUBLISHED
from shared.stages import STAGES

GOOGLE = Path(__file__).parents[2] / "infra" / "gcp"
SETTINGS = Settings.model_fields

MAX_FILTER_BYTES = 256

# Memory in MiB -> the cores that Cloud Run demands at least for it.
LEAST_CPU = {512: 0.08, 1024: 0.5, 2048: 1.0, 4096: 2.0}


def mebibytes(memory: str) -> int:
    return int(memory[:-2]) * {"Mi": 1, "Gi": 1024}[memory[-2:]]


# --- functions ---------------------------------------------------------------------------------------------------


def test_every_function_that_is_bundled_is_deployed() -> None:
    assert set(FUNCTIONS) == set(CONTENTS)
    assert all(function.entry_point == name for name, function in FUNCTIONS.items())


def test_who_is_told_of_events_or_by_the_scheduler_is_not_open_to_anyone() -> None:
    called = {subscription.function for subscription in SUBSCRIPTIONS.values()} | {"sweep"}
    triggers = {name: function.trigger for name, function in FUNCTIONS.items()}
    assert {name for name, trigger in triggers.items() if trigger == "http"} == called
    assert {name for name, trigger in triggers.items() if trigger == "finalize"} == {"on_upload"}
    assert {name for name, trigger in triggers.items() if trigger == "public_http"} == {"api", "on_report"}


def test_the_secrets_go_to_the_functions_that_speak_to_modal_and_to_no_other() -> None:
    speak = {name for name, contents in CONTENTS.items() if "infra.modal" not in contents.without}
    assert {name for name, function in FUNCTIONS.items() if function.secrets} == speak
    assert {function.secrets for function in FUNCTIONS.values() if function.secrets} == {
        ("report_keys", "modal_token_id", "modal_token_secret")
    }


def test_who_starts_stages_knows_where_jobs_report() -> None:
    needing = {name for name, function in FUNCTIONS.items() if function.needs_report_url}
    assert needing == {"orchestrate", "sweep"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_one_that_cloud_run_takes(name: str) -> None:
    function = FUNCTIONS[name]
    assert float(function.cpu) >= LEAST_CPU[mebibytes(function.memory)]
    assert function.concurrency == 1 or float(function.cpu) >= 1
    assert 1 <= function.timeout_s <= (540 if function.trigger == "finalize" else 3600)
    assert 1 <= function.concurrency <= 1000
    assert function.max_instances >= 1


def test_a_request_may_last_as_long_as_the_settings_say() -> None:
    assert FUNCTIONS["api"].timeout_s > SETTINGS["transcription_wait_s"].default
    assert FUNCTIONS["api"].timeout_s > SETTINGS["stream_max_s"].default
    assert FUNCTIONS["fetch"].timeout_s > SETTINGS["source_timeout_s"].default + SETTINGS["probe_timeout_s"].default
    assert FUNCTIONS["on_upload"].timeout_s > SETTINGS["probe_timeout_s"].default
    assert FUNCTIONS["notify"].timeout_s > SETTINGS["webhook_timeout_s"].default
    assert FUNCTIONS["sweep"].timeout_s > SETTINGS["sweep_budget_s"].default


# --- stages ------------------------------------------------------------------------------------------------------


def test_stages_that_run_in_a_function_end_before_it_does() -> None:
    inside = {stage.name: stage for stage in STAGES.values() if stage.placement == "function"}
    assert set(FUNCTION_STAGES) == set(inside) - {"validate"}
    for name in FUNCTION_STAGES:
        assert inside[name].timeout_s < FUNCTIONS["orchestrate"].timeout_s
        assert inside[name].timeout_s < FUNCTIONS["sweep"].timeout_s
    for name in ("on_upload", "fetch", "sweep"):
        assert inside["validate"].timeout_s < FUNCTIONS[name].timeout_s


def test_the_limits_of_every_stage_are_told() -> None:
    assert deployment()["stages"] == {
        stage.name: {"placement": stage.placement, "timeout_s": stage.timeout_s, "max_attempts": stage.max_attempts}
        for stage in STAGES.values()
    }


# --- subscriptions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
def test_a_delivery_is_waited_for_as_long_as_its_function_may_take(name: str) -> None:
    subscription = SUBSCRIPTIONS[name]
    assert subscription.ack_deadline_s >= min(FUNCTIONS[subscription.function].timeout_s, MAX_ACK_DEADLINE_S)


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
def test_a_subscription_is_one_that_pubsub_takes(name: str) -> None:
    subscription = SUBSCRIPTIONS[name]
    assert 10 <= subscription.ack_deadline_s <= MAX_ACK_DEADLINE_S
    assert 0 <= subscription.min_retry_s <= subscription.max_retry_s <= 600
    assert 5 <= subscription.max_delivery_attempts <= 100
    filtered = " OR ".join(f'attributes.type = "{event_type}"' for event_type in subscription.event_types)
    assert len(filtered.encode()) <= MAX_FILTER_BYTES


def test_functions_are_told_of_the_events_that_they_act_on() -> None:
    filters = {name: set(subscription.event_types) for name, subscription in SUBSCRIPTIONS.items()}
    assert filters == {
        "orchestrate": set(ORCHESTRATED_EVENTS),
        "fetch": set(FETCHING_EVENTS),
        "notify": set(),
        "deliveries": set(),
    }
    assert set().union(*filters.values()) <= PUBLISHED.keys()


def test_sweep_is_waited_for_as_long_as_it_may_take() -> None:
    assert SWEEP["attempt_deadline_s"] == FUNCTIONS["sweep"].timeout_s
    assert 15 <= int(SWEEP["attempt_deadline_s"]) <= 1800


# --- what stores hold --------------------------------------------------------------------------------------------


def test_every_index_and_override_of_firestore_is_there() -> None:
    declared = json.loads((GOOGLE / "firestore.indexes.json").read_text("utf-8"))
    told = deployment()["firestore"]
    assert [(index["collection"], [field["field_path"] for field in index["fields"]]) for index in told["indexes"]] == [
        (index["collectionGroup"], [field["fieldPath"] for field in index["fields"]]) for index in declared["indexes"]
    ]
    for index in told["indexes"]:
        for field in index["fields"]:
            assert len(field) == 2, "one of order and array_config"
    overrides = {(row["collectionGroup"], row["fieldPath"]) for row in declared["fieldOverrides"]}
    exempt = {(row["collection"], row["field"]) for row in told["exempt_fields"]}
    ttl = {(row["collection"], row["field"]) for row in told["ttl_fields"]}
    assert exempt | ttl == overrides
    assert ttl == {(row["collectionGroup"], row["fieldPath"]) for row in declared["fieldOverrides"] if row.get("ttl")}
    assert told["rules"] == (GOOGLE / "firestore.rules").read_text("utf-8")


def test_what_is_declared_of_firestore_says_nothing_that_is_not_told() -> None:
    declared = json.loads((GOOGLE / "firestore.indexes.json").read_text("utf-8"))
    assert {frozenset(index) for index in declared["indexes"]} == {
        frozenset({"collectionGroup", "queryScope", "fields"})
    }
    assert {index["queryScope"] for index in declared["indexes"]} == {"COLLECTION"}
    assert {key for row in declared["fieldOverrides"] for key in row} == {
        "collectionGroup",
        "fieldPath",
        "indexes",
        "ttl",
    }
    assert all(row["indexes"] == [] for row in declared["fieldOverrides"])


def test_the_rules_of_the_bucket_for_browsers_are_whole() -> None:
    (told,) = deployment()["cors"]
    (declared,) = json.loads((GOOGLE / "cors.json").read_text("utf-8"))
    assert list(told.values()) == list(declared.values())


def test_every_setting_is_known_by_its_variable() -> None:
    assert deployment()["settings"] == sorted(f"EARWITNESS_{name.upper()}" for name in SETTINGS)


def test_the_schema_of_events_is_the_definition() -> None:
    assert deployment()["events_schema"] == {"type": "PROTOCOL_BUFFER", "definition": events_proto()}


def test_all_of_it_is_plain_data() -> None:
    assert json.loads(json.dumps(deployment())) == json.loads(json.dumps(deployment()))
