"""The README's way to Google Cloud by hand deploys what the table says that Terraform deploys."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from infra.deployment import FUNCTIONS, SUBSCRIPTIONS, SWEEP
from tests.docs.test_google_cloud_chapter import SCRIPT, commands, flag, gcloud

assert commands  # the fixture

# What Google takes where a command does not say.
DEFAULTS = {"memory": "256Mi", "timeout": "60s", "concurrency": "1", "max-instances": "100"}
SECRETS = {
    "EARWITNESS_REPORT_KEYS": "report_keys",
    "MODAL_TOKEN_ID": "modal_token_id",
    "MODAL_TOKEN_SECRET": "modal_token_secret",
}


def said(command: Sequence[str], name: str) -> str | None:
    found = [word.partition("=")[2] for word in command if word.startswith(f"--{name}=")]
    return found[0] if found else DEFAULTS.get(name)


def function_by_hand(command: list[str]) -> dict[str, Any]:
    """What a command deploys, as the table has it."""
    given = {pair.partition("=")[0] for pair in flag(command, "set-env-vars").split(",")}
    secrets = [pair.partition("=")[0] for pair in (said(command, "set-secrets") or "").split(",") if pair]
    trigger = "public_http" if "--allow-unauthenticated" in command else "http"
    return {
        "entry_point": flag(command, "entry-point"),
        "trigger": trigger if "--trigger-http" in command else "finalize",
        "memory": said(command, "memory"),
        "cpu": said(command, "cpu"),
        "timeout_s": int(str(said(command, "timeout")).removesuffix("s")),
        "concurrency": int(str(said(command, "concurrency"))),
        "max_instances": int(str(said(command, "max-instances"))),
        "secrets": tuple(SECRETS[name] for name in secrets),
        "needs_report_url": "EARWITNESS_REPORT_URL" in given,
        "runtime": flag(command, "runtime"),
    }


def test_functions_are_deployed_by_hand_as_the_table_says(commands: Sequence[list[str]]) -> None:
    deployed = {flag(command, "entry-point"): command for command in gcloud(commands, "functions", "deploy")}
    assert set(deployed) == set(FUNCTIONS)
    for name, command in deployed.items():
        by_hand = function_by_hand(command)
        assert by_hand == {what: getattr(FUNCTIONS[name], what) for what in by_hand}, name


def test_what_happens_to_an_upload_is_tried_again(commands: Sequence[list[str]]) -> None:
    (upload,) = [command for command in gcloud(commands, "functions", "deploy") if "--retry" in command]
    assert FUNCTIONS[flag(upload, "entry-point")].trigger == "finalize"


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
def test_a_subscription_is_made_by_hand_as_the_table_says(commands: Sequence[list[str]], name: str) -> None:
    (command,) = [
        command
        for command in gcloud(commands, "pubsub", "subscriptions", "create")
        if command[4] == f"earwitness-{name}"
    ]
    row = SUBSCRIPTIONS[name]
    assert flag(command, "topic") == f"earwitness-{row.topic}"
    assert flag(command, "ack-deadline") == str(row.ack_deadline_s)
    assert flag(command, "min-retry-delay") == f"{row.min_retry_s}s"
    assert flag(command, "max-retry-delay") == f"{row.max_retry_s}s"
    assert flag(command, "max-delivery-attempts") == str(row.max_delivery_attempts)
    wanted = " OR ".join(sorted(f'attributes.type = "{event}"' for event in row.event_types))
    assert " OR ".join(sorted((said(command, "message-filter") or "").split(" OR "))) == wanted
    # All functions have one address in these tests; the script says whose it is.
    made = SCRIPT.partition(f"subscriptions create earwitness-{name} ")[2]
    variables = re.findall(r"\$(\w+)_URL", made.partition("--expiration-period")[0])
    assert {variable.lower() for variable in variables} == {row.function}


def test_there_is_no_other_push_subscription(commands: Sequence[list[str]]) -> None:
    created = gcloud(commands, "pubsub", "subscriptions", "create")
    pushed = {command[4] for command in created if said(command, "push-endpoint")}
    assert pushed == {f"earwitness-{name}" for name in SUBSCRIPTIONS}


def test_sweep_is_called_by_hand_as_the_table_says(commands: Sequence[list[str]]) -> None:
    (command,) = gcloud(commands, "scheduler", "jobs", "create", "http")
    assert flag(command, "schedule") == SWEEP["schedule"]
    assert flag(command, "attempt-deadline") == f"{SWEEP['attempt_deadline_s']}s"
