"""The README's way to Google Cloud, run by a shell whose ``gcloud`` notes each command for gcloud's own parser.

So every flag and every expansion is one that gcloud takes. What Google makes of it, no test here can tell.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.bundle import CONTENTS
from infra.pipeline.orchestration import ORCHESTRATED_EVENTS
from infra.pipeline.sources import FETCHING_EVENTS
from infra.settings import Settings
from tests.docs.chapter import refused_by_gcloud, run_chapter

ROOT = Path(__file__).parents[2]
CHAPTER = (ROOT / "README.md").read_text().partition("## On Google Cloud")[2].partition("\n## ")[0]
SCRIPT = "".join(re.findall(r"```sh\n(.*?)```", CHAPTER, re.DOTALL))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Sequence[list[str]]:
    """Every command that the chapter runs, as its shell expands it; the bundles are really written."""
    folder = tmp_path_factory.mktemp("shell")
    answers = {
        "projects": "123456789",
        "describe": "https://function-x.a.run.app",
        "service-agent": "agent@x.iam.gserviceaccount.com",
    }
    found = run_chapter(SCRIPT, folder, ("gcloud", "npx", "curl"), answers=answers)
    assert {path.stem for path in (folder / "bundles").iterdir()} == set(CONTENTS)
    return found


def gcloud(commands: Sequence[list[str]], *words: str) -> list[list[str]]:
    return [command for command in commands if command[: len(words) + 1] == ["gcloud", *words]]


def flag(command: list[str], name: str) -> str:
    (value,) = [word.partition("=")[2] for word in command if word.startswith(f"--{name}=")]
    return value


def test_gcloud_takes_every_command(commands: Sequence[list[str]], tmp_path: Path) -> None:
    assert len(gcloud(commands)) > 30
    assert refused_by_gcloud(commands, tmp_path) == []


def test_every_function_is_deployed_from_its_bundle(commands: Sequence[list[str]]) -> None:
    deployed = {flag(command, "entry-point"): command for command in gcloud(commands, "functions", "deploy")}
    assert set(deployed) == set(CONTENTS)
    for name, command in deployed.items():
        assert flag(command, "source").endswith(f"/{name}.zip")
        given = {pair.partition("=")[0] for pair in flag(command, "set-env-vars").split(",")}
        assert given <= {f"EARWITNESS_{field.upper()}" for field in Settings.model_fields}
        public = "--allow-unauthenticated" in command
        assert public == (name in ("api", "on_report")), name  # they check tokens and keys of their own


def test_what_only_the_cloud_calls_may_be_called_by_its_account(commands: Sequence[list[str]]) -> None:
    called = {command[4] for command in gcloud(commands, "run", "services", "add-iam-policy-binding")}
    assert called == {f"earwitness-{name.replace('_', '-')}" for name in set(CONTENTS) - {"api", "on_report"}}


def test_subscriptions_filter_by_the_events_that_their_functions_act_on(commands: Sequence[list[str]]) -> None:
    pushed = {
        command[4]: command
        for command in gcloud(commands, "pubsub", "subscriptions", "create")
        if "--enable-message-ordering" in command
    }
    filters = {
        name: set(re.findall(r'attributes\.type = "([^"]+)"', flag(command, "message-filter")))
        for name, command in pushed.items()
        if "message-filter" in str(command)
    }
    assert filters == {"earwitness-orchestrate": ORCHESTRATED_EVENTS, "earwitness-fetch": FETCHING_EVENTS}
    assert set(pushed) - set(filters) == {"earwitness-notify", "earwitness-deliveries"}
    assert all("--dead-letter-topic=earwitness-dead-letters" in command for command in pushed.values())


def test_no_subscription_ends_for_want_of_messages(commands: Sequence[list[str]]) -> None:
    created = gcloud(commands, "pubsub", "subscriptions", "create")
    assert len(created) == 5
    assert {flag(command, "expiration-period") for command in created} == {"never"}


def test_browsers_may_send_the_headers_that_uploads_are_signed_with() -> None:
    (allowed,) = json.loads((ROOT / "infra" / "gcp" / "cors.json").read_text())
    signed = {"content-type", "x-goog-content-length-range", "x-goog-if-generation-match", "x-goog-resumable"}
    assert signed <= set(allowed["responseHeader"])


def test_the_rules_and_indexes_that_are_deployed_are_there() -> None:
    config = json.loads((ROOT / "infra" / "gcp" / "firebase.json").read_text())["firestore"]
    assert all((ROOT / "infra" / "gcp" / config[part]).is_file() for part in ("rules", "indexes"))


def test_dead_letters_are_kept_where_the_command_looks(commands: Sequence[list[str]]) -> None:
    created = {command[4] for command in gcloud(commands, "pubsub", "subscriptions", "create")}
    assert Settings.model_fields["dead_letters_subscription"].default in created
