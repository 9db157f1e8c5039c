"""What only a plan of the whole deployment shows: that every part is given what the pipeline knows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from infra.deployment import deployment
from tests.terraform.access import planned
from tests.terraform.providers import Terraform

_KEY = "projects/keys/locations/europe-west1/keyRings/speech/cryptoKeys/earwitness"
# What holds data, and so is encrypted with a key of one's own.
_ENCRYPTED = {
    "google_artifact_registry_repository",
    "google_cloudfunctions2_function",
    "google_firestore_database",
    "google_pubsub_topic",
    "google_secret_manager_secret",
    "google_storage_bucket",
}
# What says in a resource how it is called.
_NAMES = ("name", "account_id", "repository_id", "secret_id", "topic_id")


@pytest.fixture(scope="module")
def resources(newest_terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Mapping[str, Any]]:
    """Everything that a deployment with a prefix and a key of its own would make."""
    plan = planned(
        newest_terraform,
        tmp_path_factory.mktemp("whole"),
        name_prefix="speech",
        region="europe-west1",
        kms_key_name=_KEY,
    )
    return list(_resources(plan["planned_values"]["root_module"]))


def test_a_key_of_ones_own_encrypts_all_that_holds_data(resources: Sequence[Mapping[str, Any]]) -> None:
    holding = [row for row in resources if row["type"] in _ENCRYPTED]
    assert {row["type"] for row in holding} == _ENCRYPTED
    assert [row["address"] for row in holding if _KEY not in json.dumps(row["values"])] == []


def test_subscriptions_are_those_of_the_contract(resources: Sequence[Mapping[str, Any]]) -> None:
    pushes = {
        row["index"]: row["values"]
        for row in resources
        if row["type"] == "google_pubsub_subscription" and row["name"] == "push"
    }
    wanted = deployment()["subscriptions"]
    assert set(pushes) == set(wanted)
    for name, found in pushes.items():
        row = wanted[name]
        types = [f'attributes.type = "{event_type}"' for event_type in row["event_types"]]
        assert (found["filter"] or "") == " OR ".join(types), name
        assert found["topic"].endswith(f"/speech-{row['topic']}"), name
        assert found["ack_deadline_seconds"] == row["ack_deadline_s"], name
        (dead_letters,), (retry,) = found["dead_letter_policy"], found["retry_policy"]
        assert dead_letters["dead_letter_topic"].endswith("/speech-dead-letters"), name
        assert dead_letters["max_delivery_attempts"] == row["max_delivery_attempts"], name
        assert (retry["minimum_backoff"], retry["maximum_backoff"]) == (
            f"{row['min_retry_s']}s",
            f"{row['max_retry_s']}s",
        ), name


def test_functions_have_the_figures_of_the_contract(resources: Sequence[Mapping[str, Any]]) -> None:
    found = {
        row["index"]: row["values"]["service_config"][0]
        for row in resources
        if row["type"] == "google_cloudfunctions2_function"
    }
    wanted = deployment()["functions"]
    assert set(found) == set(wanted)
    for name, row in wanted.items():
        assert {
            "memory": found[name]["available_memory"],
            "cpu": found[name]["available_cpu"],
            "timeout_s": found[name]["timeout_seconds"],
            "concurrency": found[name]["max_instance_request_concurrency"],
            "max_instances": found[name]["max_instance_count"],
            "min": found[name]["min_instance_count"],
        } == {
            **{figure: row[figure] for figure in ("memory", "cpu", "timeout_s", "concurrency", "max_instances")},
            "min": 0,
        }, name


def test_names_begin_with_the_prefix(resources: Sequence[Mapping[str, Any]]) -> None:
    # Not ours to name: APIs, Firestore's fields and its release of rules, and the bundles within their bucket.
    named = {
        row["address"]: next(row["values"][key] for key in _NAMES if row["values"].get(key))
        for row in resources
        if any(row["values"].get(key) for key in _NAMES)
        and "_iam_" not in row["type"]
        and row["type"]
        not in {
            "google_firebaserules_release",
            "google_firestore_database",
            "google_project_service",
            "google_storage_bucket_object",
        }
    }
    assert len(named) > 30
    assert {where: name for where, name in named.items() if "speech" not in name} == {}


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from _resources(child)
