"""Mistakes that someone could make in `terraform/`, one at a time: the check that is named for each refuses it."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulators import missing
from tests.terraform import documentation
from tests.terraform.conventions import complaints
from tests.terraform.providers import REPOSITORY, Refused, Terraform, copied_tree
from tests.terraform.scan import refused, scanned

_PYTHON_OF_CHECKOV = Path(os.environ.get("EARWITNESS_CHECKOV", REPOSITORY / ".venv" / "checkov" / "bin" / "python"))

Check = Callable[[Path, Terraform], str]


def run(module: str, file: str, name: str) -> Check:
    """One run of a module's own tests, which comes to another result than it should."""

    def check(tree: Path, terraform: Terraform) -> str:
        folder = tree / "modules" / module
        tests = folder / "tests" / f"{file}.tftest.hcl"
        tests.write_text(_with_one_run(tests.read_text(), name))
        terraform.init(folder)
        printed = _printed(lambda: terraform("test", "-no-color", f"-filter=tests/{tests.name}", folder=folder))
        assert f'run "{name}"... fail' in printed, printed
        in_test = f"on tests/{tests.name} line" in printed
        assert in_test or "Error: Invalid value" in printed, f"not by an assertion, nor by a rule for values: {printed}"
        return printed

    return check


def validated(folder: str) -> Check:
    """`terraform validate`: the provider's schema, and where it is stood in for, our rules for values."""

    def check(tree: Path, terraform: Terraform) -> str:
        terraform.init(tree / folder)
        return _printed(lambda: terraform("validate", "-no-color", folder=tree / folder))

    return check


def formatted(tree: Path, terraform: Terraform) -> str:
    """`terraform fmt`."""
    return _printed(lambda: terraform("fmt", "-check", "-diff", "-recursive", "-no-color", folder=tree))


def with_rules(check: Check) -> Check:
    """A check of `rules.json`, which Google's own provider knows nothing of."""

    def checked(tree: Path, terraform: Terraform) -> str:
        if not terraform.stands_in:
            pytest.skip("rules.json is for the stand-in for Google's provider")
        return check(tree, terraform)

    return checked


def reviewed(tree: Path, terraform: Terraform) -> str:
    """Our conventions."""
    return "\n".join(complaints(tree))


def documented(folder: str) -> Check:
    """The tables of a README, and that everything is described."""

    def check(tree: Path, terraform: Terraform) -> str:
        return "\n".join(documentation.shortcomings(tree / folder))

    return check


def looked_through(folder: str) -> Check:
    """Checkov."""

    def check(tree: Path, terraform: Terraform) -> str:
        if not _PYTHON_OF_CHECKOV.exists():
            missing("checkov is not installed: `make terraform-check` does it")
        return "\n".join(refused(scanned(tree / folder, _PYTHON_OF_CHECKOV)))

    return check


@dataclass(frozen=True)
class Mistake:
    """One edit of one file, and who refuses it.

    Attributes:
        file: The file, under `terraform/`.
        before: What is there: a regular expression.
        after: What is put there instead, once.
        check: The check.
        says: What it says then, in part.
    """

    file: str
    before: str
    after: str
    check: Check
    says: str


_FUNCTIONS = "modules/functions/main.tf"
_PUSH = "modules/events/subscriptions.tf"
MISTAKES = {
    # --- what anyone could reach
    "a bucket that may be public": Mistake(
        "modules/storage/main.tf",
        r'"enforced"',
        '"inherited"',
        run("storage", "plan", "both_buckets_are_closed_and_guarded"),
        "Neither bucket may ever be public",
    ),
    "a bucket with access by object": Mistake(
        "modules/functions/sources.tf",
        r"uniform_bucket_level_access = true",
        "uniform_bucket_level_access = false",
        looked_through("modules/functions"),
        "CKV_GCP_29",
    ),
    "a private function that anyone may call": Mistake(
        "modules/functions/access.tf",
        r"for_each = var\.public_functions",
        "for_each = toset(keys(var.functions))",
        run("functions", "plan", "only_those_may_call_that_were_named"),
        "Only the API and on_report are open to anyone",
    ),
    "a private function that the internet reaches": Mistake(
        _FUNCTIONS,
        r"= var\.network\.ingress_settings",
        '= "ALLOW_ALL"',
        run("functions", "plan", "private_functions_are_reached_from_google_only"),
        "takes internal requests only",
    ),
    # --- what an account may do
    "a role that is too wide": Mistake(
        "modules/pipeline/access.tf",
        r'results = \["objectViewer"\]',
        'results = ["objectAdmin"]',
        run("pipeline", "access", "accounts_have_only_the_grants_that_their_code_uses"),
        "Roles on the buckets must be exactly these",
    ),
    "a publisher that only reads": Mistake(
        "modules/pipeline/access.tf",
        r"roles/pubsub\.publisher",
        "roles/pubsub.viewer",
        run("pipeline", "access", "accounts_have_only_the_grants_that_their_code_uses"),
        "A grant on a topic must let its function publish",
    ),
    "every database of the project": Mistake(
        "modules/pipeline/access.tf",
        r"/databases/\$\{module\.status\.database\.name\}'",
        "/databases/other'",
        run("pipeline", "access", "project_level_grants_are_firestore_by_condition_and_receiving_events"),
        "Firestore must be granted for one database alone",
    ),
    "an owner": Mistake(
        "modules/pipeline/access.tf",
        r'"roles/eventarc\.eventReceiver"',
        '"roles/owner"',
        with_rules(validated("modules/pipeline")),
        "roles/owner' does not match",
    ),
    "a role that is misspelt": Mistake(
        "modules/events/agent.tf",
        r'"roles/pubsub\.publisher"',
        '"roles/pubsub.publishers"',
        with_rules(validated("modules/events")),
        "got 'roles/pubsub.publishers'",
    ),
    "a policy that takes away what others were granted": Mistake(
        "modules/events/agent.tf",
        r'"google_pubsub_topic_iam_member"',
        '"google_pubsub_topic_iam_binding"',
        reviewed,
        "modules/events/agent.tf: google_pubsub_topic_iam_binding takes away",
    ),
    # --- what gets lost
    "a subscription without dead letters": Mistake(
        _PUSH,
        r"  dead_letter_policy \{[^}]*\}\n",
        "",
        run("events", "plan", "what_no_function_takes_becomes_a_dead_letter"),
        "dead_letter_policy[0]",
    ),
    "a service agent that may make no dead letters": Mistake(
        "modules/events/agent.tf",
        r"subscription = google_pubsub_subscription\.push\[each\.key\]\.name",
        "subscription = google_pubsub_subscription.dead_letters.name",
        run("events", "plan", "the_service_agent_may_make_dead_letters_and_nothing_more"),
        "without that none is given up",
    ),
    "an upload's event that is not tried again": Mistake(
        _FUNCTIONS,
        r'"RETRY_POLICY_RETRY"',
        '"RETRY_POLICY_DO_NOT_RETRY"',
        run("functions", "plan", "uploads_are_delivered_again_until_they_were_taken"),
        "The storage trigger retries",
    ),
    "events out of order": Mistake(
        _PUSH,
        r"enable_message_ordering = true",
        "enable_message_ordering = false",
        run("events", "plan", "messages_come_in_order_signed_in_and_to_the_function_alone"),
        "Events of a job must come in order",
    ),
    "a filter that is misspelt": Mistake(
        _PUSH,
        r'"attributes\.type = ',
        '"attribute.type = ',
        run("events", "plan", "each_subscription_gets_the_event_types_that_its_function_takes"),
        "attribute.type",
    ),
    "a sweep that is never called": Mistake(
        "modules/pipeline/contract.tfvars.json",
        r'"schedule": "\* \* \* \* \*"',
        '"schedule": "0 0 29 2 *"',
        run("pipeline", "wiring", "sweep_is_called_every_minute"),
        "The schedule must be the contract's",
    ),
    "a schedule of four fields": Mistake(
        "modules/pipeline/contract.tfvars.json",
        r'"schedule": "\* \* \* \* \*"',
        '"schedule": "* * * *"',
        with_rules(validated("modules/pipeline")),
        "'* * * *' does not match",
    ),
    "a database that a mistake deletes": Mistake(
        "modules/status/main.tf",
        r'\? "DELETE_PROTECTION_ENABLED"',
        '? "DELETE_PROTECTION_DISABLED"',
        run("status", "plan", "the_database_is_native_and_guarded"),
        "Google must refuse to delete the database",
    ),
    # --- what stays too long, or can be read
    "documents that never expire": Mistake(
        "modules/status/indexes.tf",
        r"for_each = contains\(local\.ttl_fields, each\.key\) \? \[true\] : \[\]",
        "for_each = []",
        run("status", "contract", "every_document_that_expires_vanishes"),
        "Each time to live must be in the plan",
    ),
    "images without the key": Mistake(
        "modules/functions/build.tf",
        r"\n  kms_key_name  = var\.kms_key_name",
        "",
        run("functions", "plan", "one_key_encrypts_everything"),
        "Images are encrypted with the same key",
    ),
    "the latest version of a secret": Mistake(
        "modules/functions/variables.tf",
        r'secret\.version != "latest"',
        'secret.version != "newest"',
        run("functions", "variables", "what_has_another_form_is_refused"),
        "The checkable object, var.secrets, was expected to report an error but did not",
    ),
    "a secret that the next start may read anew": Mistake(
        _FUNCTIONS,
        r"= secret_environment_variables\.value\.version",
        '= "latest"',
        with_rules(run("functions", "plan", "secrets_are_pinned_and_given_to_those_that_ask")),
        "'latest' does not match",
    ),
    # --- what does not work
    "a token for another audience": Mistake(
        _PUSH,
        r"audience              = each\.value\.push_endpoint",
        'audience              = "https://example.com"',
        run("events", "plan", "messages_come_in_order_signed_in_and_to_the_function_alone"),
        "A token must be good for the function it is sent to",
    ),
    "uploads that no browser may make": Mistake(
        "modules/storage/main.tf",
        r"cors        = var\.cors",
        "cors        = []",
        run("storage", "plan", "pages_reach_the_uploads_bucket_alone"),
        "The rule must be on the uploads bucket",
    ),
    "a bundle that is not named by its content": Mistake(
        "modules/functions/sources.tf",
        r"-\$\{substr\(.*?, 0, 16\)\}\.zip",
        ".zip",
        run("functions", "plan", "a_bundle_is_named_by_its_content_and_lies_where_nobody_sees_it"),
        "a_bundle_is_named_by_its_content",
    ),
    "an argument that is misspelt": Mistake(
        _PUSH, r"ack_deadline_seconds", "ack_deadline_secs   ", validated("modules/events"), "Unsupported argument"
    ),
    "memory without a unit": Mistake(
        _FUNCTIONS,
        r"= each\.value\.memory",
        '= "512"',
        with_rules(validated("modules/functions")),
        "'512' does not match",
    ),
    # --- what a reader is not told
    "a variable without a description": Mistake(
        "modules/events/variables.tf",
        r'  description = "The one region[^\n]*\n',
        "",
        documented("modules/events"),
        "'region' has no description",
    ),
    "a table that is out of date": Mistake(
        "modules/events/variables.tf",
        r'default     = "604800s"',
        'default     = "86400s"',
        documented("modules/events"),
        "make terraform-docs",
    ),
    "a skip without a reason": Mistake(
        "modules/events/main.tf",
        r"#checkov:skip=CKV_GCP_83:.*",
        "#checkov:skip=CKV_GCP_83",
        reviewed,
        "the skip of CKV_GCP_83 gives no reason",
    ),
    "a subscription made anew that its dead letters are lost of": Mistake(
        "modules/events/agent.tf",
        r"    replace_triggered_by = .*\n",
        "",
        reviewed,
        "google_pubsub_subscription_iam_member without replace_triggered_by",
    ),
    "an index that goes before its functions": Mistake(
        "modules/status/indexes.tf",
        r"    create_before_destroy = true\n",
        "",
        reviewed,
        "google_firestore_index without create_before_destroy",
    ),
    "a provider in a module": Mistake(
        "modules/events/versions.tf",
        r"\Z",
        '\nprovider "google" {}\n',
        reviewed,
        "a module configures no provider",
    ),
    "a file that is not formatted": Mistake(_PUSH, r"  labels   ", "  labels", formatted, "subscriptions.tf"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_is_refused(name: str, newest_terraform: Terraform, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    tree = copied_tree(tmp_path)
    _edit(tree / mistake.file, mistake)
    assert mistake.says in " ".join(mistake.check(tree, newest_terraform).split())
    shutil.rmtree(tree)


def test_without_a_mistake_nothing_is_refused(newest_terraform: Terraform, tmp_path: Path) -> None:
    """What `test_modules.py` does not say already: the checks that are made for mistakes alone let the tree pass."""
    tree = copied_tree(tmp_path)
    assert reviewed(tree, newest_terraform) == ""
    assert [documentation.shortcomings(folder) for folder in documentation.folders(tree)].count([]) > 0


def test_how_many(tell: Callable[[str], None]) -> None:
    tell(f"{len(MISTAKES)} mistakes, each refused by the check that is named for it")
    assert len(MISTAKES) >= 18


def _edit(file: Path, mistake: Mistake) -> None:
    text, times = re.subn(mistake.before, lambda _: mistake.after, file.read_text(), count=1)
    assert times == 1, f"{mistake.file} has no {mistake.before}"
    file.write_text(text)


def _with_one_run(text: str, name: str) -> str:
    """A test file with what stands before its first run, and one run."""
    head, *runs = re.split(r'^(?=run ")', text, flags=re.MULTILINE)
    (kept,) = [block for block in runs if block.startswith(f'run "{name}"')]
    return head + kept


def _printed(call: Callable[[], str]) -> str:
    """What a command says that must not succeed."""
    with pytest.raises(Refused) as refusal:
        call()
    return str(refusal.value)
