"""GitHub's workflows: valid, safe, pinned, running nothing that is not there; and how releases are set up."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra.cli.commands import app
from infra.settings import Settings
from tests.docs.chapter import refused_by_gcloud, run_chapter

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: path for path in sorted(FOLDER.glob("*.yml"))}
ENVIRONMENTS = ("staging", "production")
BIN = Path(sys.executable).parent
# What is on GitHub's machines, or brought by a step.
TOOLS = {"curl", "echo", "gcloud", "printf", "sha256sum", "terraform"}


def read(name: str) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for true.
    found: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in WORKFLOWS:
        for job, body in read(name)["jobs"].items():
            yield name, job, body


def steps() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, job, body in jobs():
        for step in body["steps"]:
            yield name, job, step


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_the_three_workflows_are_there() -> None:
    assert set(WORKFLOWS) == {"ci", "security", "release"}


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", sorted(WORKFLOWS.values())), ("dependabot", [ROOT / ".github" / "dependabot.yml"])],
    ids=["workflows", "dependabot"],
)
def test_they_have_the_form_that_github_takes(schema: str, files: Sequence[Path]) -> None:
    checked = run(BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_zizmor_finds_nothing_even_as_a_strict_auditor() -> None:
    checked = run(BIN / "zizmor", "--offline", "--persona", "auditor", "--format", "json", ROOT / ".github")
    assert (checked.returncode, json.loads(checked.stdout)) == (0, []), checked.stderr
    assert not re.search(r"zizmor:\s*ignore", "".join(path.read_text() for path in WORKFLOWS.values()))


def test_each_action_is_pinned_by_a_commit_and_says_its_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS.values():
        used = re.findall(r"^ +- uses: (.+)$", path.read_text(), re.MULTILINE)
        assert len(used) == path.read_text().count("uses:")
        for line in used:
            pinned = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # v(\d+\.\d+\.\d+)", line)
            assert pinned, line
            pins.setdefault(pinned[1], set()).add(pinned[2])
    assert all(len(commits) == 1 for commits in pins.values()), "one action, one commit"
    (scanner,) = (step["with"]["version"] for _, _, step in steps() if "trufflehog" in step.get("uses", ""))
    assert f"# v{scanner}" in WORKFLOWS["security"].read_text(), "the scanner is the version that its action is"


def test_jobs_have_the_least_permissions_and_an_end() -> None:
    allowed = {"contents": "read", "id-token": "write", "attestations": "write"}
    for name in WORKFLOWS:
        workflow = read(name)
        assert workflow["permissions"] == {} and "group" in workflow["concurrency"]
    for name, job, body in jobs():
        assert 0 < body["timeout-minutes"] <= 350, (name, job)
        assert body["permissions"].items() <= allowed.items(), (name, job)
        signs_in = any(
            step.get("uses", "").startswith(("google-github-actions/auth", "actions/attest")) for step in body["steps"]
        )
        assert signs_in == ("id-token" in body["permissions"]), (name, job)
    for name, job, step in steps():
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False, (name, job)
    assert not any("pull_request_target" in read(name)["on"] for name in WORKFLOWS)


def test_every_command_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    group: Any = typer.main.get_command(app)
    made: dict[str, set[str]] = {name: set() for name in WORKFLOWS}
    for name, job, step in steps():
        assert "${{" not in step.get("run", ""), "a value that comes from outside is no part of a script"
        for line in step.get("run", "").splitlines():
            command, *words = shlex.split(line)
            if command == "make":
                assert words[0] in targets, (job, line)
                made[name].add(words[0])
            elif command == ".venv/bin/earwitness":
                found = group
                for word in words:
                    found = found.commands[word] if hasattr(found, "commands") else found
                options = {option for parameter in found.params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options, line
            else:
                assert command in TOOLS, (job, line)
    assert made["ci"] == {"check", "test", "terraform-check", "terraform-test"}
    assert made["security"] == {"check", "terraform-check"}


def test_every_lock_is_audited() -> None:
    (given,) = (step["with"] for _, _, step in steps() if "pip-audit" in step.get("uses", ""))
    folders = ("infra/locks/*.txt", "gpu_jobs/locks/*.txt", "functions/*/requirements.txt")
    locks = {path.relative_to(ROOT).as_posix() for pattern in folders for path in ROOT.glob(pattern)}
    assert set(given["inputs"].split()) == locks
    assert given["require-hashes"] and given["disable-pip"]


def test_code_is_held_to_bandits_rules() -> None:
    checked = run(BIN / "ruff", "check", "--show-settings", ROOT / "infra" / "settings.py")
    assert "subprocess-popen-with-shell-equals-true (S602)" in checked.stdout
    assert "hardcoded-password-string (S105)" in checked.stdout


def test_a_release_goes_through_staging_and_applies_what_was_planned() -> None:
    body = read("release")["jobs"]
    assert read("release")["on"] == {"push": {"tags": ["v*"]}}
    order = {
        name: [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        for name, job in body.items()
    }
    assert order == {
        "bundles": [],
        "attest": ["bundles"],
        "staging-plan": ["attest"],
        "staging-apply": ["staging-plan"],
        "staging-gpu": ["staging-plan"],
        "production-plan": ["staging-apply", "staging-gpu"],
        "production-apply": ["production-plan"],
        "production-gpu": ["production-plan"],
    }
    for name in ENVIRONMENTS:
        assert body[f"{name}-plan"]["environment"] == f"{name}-plan"
        assert body[f"{name}-apply"]["environment"] == body[f"{name}-gpu"]["environment"] == name
        applied = [step["run"] for step in body[f"{name}-apply"]["steps"] if " apply " in step.get("run", "")]
        assert applied == [
            f"terraform -chdir=terraform/environments/{name} apply -input=false -lock-timeout=5m release.tfplan"
        ]
    text = {name: json.dumps(body[f"{name}-{job}"]) for job in ("plan", "apply", "gpu") for name in ENVIRONMENTS}
    for job in ("plan", "apply", "gpu"):
        one, other = (json.dumps(body[f"{name}-{job}"]) for name in ENVIRONMENTS)
        assert re.sub(r'"needs": (".*?"|\[.*?\]), ', "", one.replace("staging", "production")) == re.sub(
            r'"needs": (".*?"|\[.*?\]), ', "", other
        ), "both environments are deployed alike"
    assert not any("upload-artifact" in found for found in text.values()), "a plan holds secrets"
    secrets = {name: set(re.findall(r"secrets\.(\w+)", json.dumps(job))) for name, job in body.items()}
    modal = {"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"}
    assert {name: found for name, found in secrets.items() if found} == {
        **{f"{name}-plan": modal | {"REPORT_KEYS"} for name in ENVIRONMENTS},
        **{f"{name}-gpu": modal for name in ENVIRONMENTS},
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_terraform_knows_what_a_release_gives_it(name: str) -> None:
    folder = ROOT / "terraform" / "environments" / name
    text = "".join(path.read_text() for path in folder.glob("*.tf"))
    body = read("release")["jobs"][f"{name}-plan"]
    variables = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    given = {key.removeprefix("TF_VAR_") for step in body["steps"] for key in step.get("env", {}) if "TF_VAR_" in key}
    assert given and given <= variables
    assert re.search(r'variable "bundles_dir" \{[^}]*default +?= "bundles"', text), "where the bundles are brought to"
    assert 'backend "gcs"' in text and re.search(r'^output "api_url"', text, re.MULTILINE)
    assert re.search(rf'modal += \{{ environment = "{name}" \}}', text), (
        "GPU jobs are deployed where functions call them"
    )


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Sequence[list[str]]:
    """Every command of the chapter on releases, as its shell expands it."""
    folder = tmp_path_factory.mktemp("shell")
    script = "".join(re.findall(r"```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL))
    found = run_chapter(script, folder, ("gcloud", "gh"), answers={"describe": "123456789"})
    json.loads((folder / "lifecycle.json").read_text())
    return found


def test_gcloud_takes_every_command_of_the_setup(commands: Sequence[list[str]], tmp_path: Path) -> None:
    assert len([command for command in commands if command[0] == "gcloud"]) > 25
    assert refused_by_gcloud(commands, tmp_path) == []


def test_only_jobs_of_an_environment_become_its_account(commands: Sequence[list[str]]) -> None:
    trusted = {
        command[4].partition("@")[0]: next(word for word in command if word.startswith("--member=")).partition(
            "/attribute.environment/"
        )[2]
        for command in commands
        if command[1:4] == ["iam", "service-accounts", "add-iam-policy-binding"]
    }
    assert trusted == {
        "earwitness-plans": "staging-plan",
        "earwitness-applies": "staging",
    }
    (provider,) = (command for command in commands if "create-oidc" in command)
    (condition,) = (word for word in provider if word.startswith("--attribute-condition="))
    assert "assertion.repository == 'my-organization/earwitness'" in condition and "||" not in condition
    assert any("attribute.environment=assertion.environment" in word for word in provider)
    roles = [word for command in commands for word in command if word.startswith("--role=")]
    assert not {"--role=roles/owner", "--role=roles/editor", "--role=roles/viewer"} & set(roles)
    (permissions,) = (word for command in commands for word in command if word.startswith("--permissions="))
    names = permissions.partition("=")[2].split(",")
    assert names == sorted(set(names)) and all(
        re.fullmatch(r"\w+\.\w+\.(get|getIamPolicy|getMetadata|list)", each) for each in names
    )


def test_the_setup_gives_each_variable_that_a_release_asks_for(commands: Sequence[list[str]]) -> None:
    told: dict[str, set[str]] = {}
    for command in commands:
        if command[0] == "gh":
            (environment,) = (word.partition("=")[2] for word in command if word.startswith("--env="))
            told.setdefault(environment, set()).add(command[3])
    asked = {
        job["environment"]: set(re.findall(r"vars\.(\w+)", json.dumps(job)))
        for name, job in read("release")["jobs"].items()
        if name in ("staging-plan", "staging-apply")
    }
    assert asked == {"staging-plan": told["staging-plan"] | {"TFVARS"}, "staging": told["staging"]}


def test_names_of_settings_are_real() -> None:
    text = "".join(path.read_text() for path in [*WORKFLOWS.values(), FOLDER / "README.md"])
    known: Mapping[str, Any] = Settings.model_fields
    assert {name.lower() for name in re.findall(r"EARWITNESS_([A-Z_]+)", text)} <= set(known)
