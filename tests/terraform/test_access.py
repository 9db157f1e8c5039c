"""No service account may do more than its function's code does, and none less.

What the code does is seen by running it and by reading it; what an account may do is what a plan would grant it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import CONTENTS
from shared import ports
from tests.terraform.access import PAGE, page, planned
from tests.terraform.access_grants import KNOWN, NUMBER, PROJECT, Grant, by_address, complaints, grants, held, roles
from tests.terraform.access_reach import THREADS, reachable
from tests.terraform.access_uses import FREE, USES, Operation, needed, needed_by
from tests.terraform.providers import ROOT, Terraform

PROTOCOLS = {
    "jobs": ports.JobStore,
    "documents": ports.DocumentStore,
    "events": ports.EventBus,
    "deliveries": ports.DeliveryQueue,
    "objects": ports.ObjectStore,
    "runner": ports.StageRunner,
    "prober": ports.Prober,
    "callers": ports.Callers,
}
# Handing on who began it, or asking for no service.
KNOWN_THREADS = {"infra.pipeline.dispatch._start_calls", "infra.outbound._resolved"}
# In the table of ``access.tf``: whose row, what it says and what it should not say, and the complaint.
MISTAKES = (
    (
        "api",
        '["objectViewer", "objectCreator"]',
        '["objectUser"]',
        "api has roles/storage.objectUser on uploads: roles/storage.objectViewer and roles/storage.objectCreator would"
        " do",
    ),
    (
        "on_report",
        'results = ["objectViewer"]',
        'results = ["objectUser"]',
        "on_report has roles/storage.objectUser on results: roles/storage.objectViewer would do",
    ),
    (
        "on_upload",
        'results = ["objectUser"]',
        "results = []",
        "on_upload lacks storage.objects.create, storage.objects.delete, storage.objects.get, storage.objects.list on"
        " results",
    ),
    (
        "notify",
        '["deliveries"]',
        '["events", "deliveries"]',
        "notify has roles/pubsub.publisher on events: its code does nothing there",
    ),
    (
        "notify",
        "signs = false",
        "signs = true",
        "notify has roles/iam.serviceAccountTokenCreator on itself: its code does nothing there",
    ),
    ("fetch", '["events"]', "[]", "fetch lacks pubsub.topics.publish on events"),
    (
        "orchestrate",
        'uploads = ["objectUser"]',
        'uploads = ["objectUser", "objectViewer"]',
        "orchestrate has roles/storage.objectViewer on uploads: its code does not need it",
    ),
    (
        "sweep",
        'results = ["objectUser"]',
        'results = ["objectAdmin"]',
        "sweep has roles/storage.objectAdmin on results: nobody is to have such a role",
    ),
    (
        "of the condition",
        "databases/${module.status.database.name}'",
        "databases/other'",
        "notify has roles/datastore.user on project: its code does nothing there",
    ),
)


def is_of_port(port: str, method: str) -> bool:
    """Whether Google's adapters have it too: the local ones can do more, and properties ask for nothing."""
    return port == "report_tokens" or callable(getattr(PROTOCOLS[port], method, None))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> frozenset[Operation]:
    """What the functions did, of what Google is asked for."""
    from tests.terraform.access_running import drive  # loads every function, which takes a second

    done = drive(tmp_path_factory.mktemp("running"))
    return frozenset(one for one in done if one.port not in FREE and is_of_port(one.port, one.method))


@pytest.fixture(scope="module")
def plan(newest_terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return planned(newest_terraform, tmp_path_factory.mktemp("planned"))


def rows(*, is_seen: bool) -> frozenset[Operation]:
    """What the table says that a run shows, or that none does."""
    uses = [use for use in USES if use.is_seen is is_seen]
    return frozenset(Operation(use.function, use.port, method, use.bucket) for use in uses for method in use.methods)


def test_what_the_functions_do_is_in_the_table(seen: frozenset[Operation], tell: Callable[[str], None]) -> None:
    table, unseen = rows(is_seen=True), rows(is_seen=False)
    assert not table & unseen
    assert seen - table - unseen == frozenset(), "this is done, and the table does not have it"
    assert table - seen == frozenset(), "the table has this, and nobody does it"
    tell(f"{len(seen)} operations of {len(CONTENTS)} functions seen, {len(unseen)} more can be reached")


@pytest.mark.parametrize("function", CONTENTS)
def test_what_a_function_can_reach_is_in_the_table(function: str) -> None:
    found = {use: places for use, places in reachable(function).items() if use[0] != "threads"}
    found = {use: places for use, places in found.items() if use[0] not in FREE and is_of_port(*use)}
    table = {(use.port, method) for use in USES if use.function == function for method in use.methods}
    assert {use: places for use, places in found.items() if use not in table} == {}, "nobody has judged this"
    assert table - found.keys() == set(), "its code cannot even reach this"


def test_what_the_functions_do_was_found_in_their_code(seen: frozenset[Operation]) -> None:
    assert [one for one in seen if (one.port, one.method) not in reachable(one.function)] == []


def test_who_runs_what_is_known_in_every_thread() -> None:
    for function in CONTENTS:
        if function != "api":
            places = [places for (port, name), places in reachable(function).items() if name in THREADS]
            assert frozenset().union(*places) <= KNOWN_THREADS, function


def test_what_each_method_needs_is_known() -> None:
    for use in USES:
        assert all(is_of_port(use.port, method) for method in use.methods), use
        assert needed(use).keys() or use.methods == ("purge",), use


def test_each_function_gets_the_secrets_that_its_code_reads() -> None:
    functions = json.loads((ROOT / "modules/pipeline/contract.tfvars.json").read_text())["contract"]["functions"]
    secrets = {"report_keys", "modal_token_id", "modal_token_secret"}
    assert {name: set(row["secrets"]) for name, row in functions.items()} == {
        name: secrets & needed_by(name).keys() for name in CONTENTS
    }


def test_the_plan_grants_what_the_code_does_and_nothing_more(
    plan: Mapping[str, Any], tell: Callable[[str], None]
) -> None:
    granted = grants(plan)
    assert complaints(granted) == []
    tell(f"{len(granted)} grants, {len(granted) - len(KNOWN)} of them of functions")


def test_what_may_be_chosen_gives_no_function_more(
    newest_terraform: Terraform, plan: Mapping[str, Any], tmp_path: Path
) -> None:
    """With a key of one's own, which Google's services encrypt with, and a sign-in before the API."""
    key = f"projects/{PROJECT}/locations/us-central1/keyRings/a/cryptoKeys/b"
    chosen = set(grants(planned(newest_terraform, tmp_path, kms_key_name=key, api={"access": "platform"})))
    before = set(grants(plan))
    assert before - chosen == {Grant("allUsers", "function api", "roles/run.invoker")}
    for one in chosen - before:
        assert (one.resource, one.role) == ("crypto_key_id b", "roles/cloudkms.cryptoKeyEncrypterDecrypter")
        assert one.member.startswith(f"service-{NUMBER}@"), one


def test_each_mistake_in_the_table_of_the_module_is_named(
    newest_terraform: Terraform, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    def change(tree: Path) -> None:
        table = tree / "modules" / "pipeline" / "access.tf"
        text = table.read_text()
        for function, before, after, _ in MISTAKES:
            block = re.search(rf"^    {function} = {{.*?^    }}", text, re.DOTALL | re.MULTILINE)
            part = block[0] if block else text
            assert before in part, (function, before)
            text = text.replace(part, part.replace(before, after, 1))
        table.write_text(text)

    found = complaints(grants(planned(newest_terraform, tmp_path, change)))
    for *_, expected in MISTAKES:
        assert expected in found
    tell(f"{len(MISTAKES)} mistakes, {len(found)} complaints")


def test_a_grant_that_is_dropped_is_missed(plan: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    addresses = by_address(plan).keys()
    for address in addresses:
        found = complaints(grants(without(plan, address)))
        assert any("lacks" in one or "missing" in one for one in found), address
    tell(f"{len(addresses)} grants dropped, each is missed")


def test_a_grant_that_is_widened_is_refused(plan: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """To each role that holds more on the same thing, and a few that hold anything."""
    granted = by_address(plan)
    count = 0
    for address, grant in of_functions(plan).items():
        here = held(grant.role, grant.resource)
        wider = [name for name in roles() if here < held(name, grant.resource)]
        for role in (*wider, "roles/owner", "roles/editor", "roles/storage.admin", "roles/of.nobody"):
            changed = {**granted, address: replace(grant, role=role)}
            assert complaints(changed.values()), (address, role)
            count += 1
    tell(f"{count} widened grants, each is refused")


def test_a_grant_that_is_added_is_refused(plan: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """Every grant of every function to every other one, that has not got it."""
    granted = grants(plan)
    count = 0
    for one in granted:
        for member in (*CONTENTS, "pushes", "uploads", "build", "allUsers", "allAuthenticatedUsers", "of nobody"):
            added = Grant(member, one.resource, one.role, one.condition)
            if added not in granted:
                assert complaints([*granted, added]), added
                count += 1
    tell(f"{count} added grants, each is refused")


def test_a_grant_on_all_of_the_project_is_refused(plan: Mapping[str, Any]) -> None:
    for address, grant in of_functions(plan).items():
        changed = deepcopy(plan)
        (row,) = (row for row in granting(changed) if row["address"] == address)
        member = row["values"]["member"]
        row |= {
            "type": "google_project_iam_member",
            "values": {"project": PROJECT, "role": grant.role, "member": member},
        }
        assert complaints(grants(changed)), address


def test_a_function_is_opened_to_nobody(plan: Mapping[str, Any]) -> None:
    for row in granting(plan):
        if row["type"] == "google_cloud_run_v2_service_iam_member" and row["values"]["member"] != "allUsers":
            for everyone in ("allUsers", "allAuthenticatedUsers"):
                assert complaints(grants(with_values(plan, row["address"], member=everyone))), row["address"]


@pytest.mark.parametrize("kind", ["google_project_iam_binding", "google_storage_bucket_iam_policy"])
def test_a_grant_of_another_kind_is_refused(kind: str, plan: Mapping[str, Any]) -> None:
    changed = copied(plan)
    next(granting(changed))["type"] = kind
    with pytest.raises(AssertionError, match="grants in a way that nobody knows here"):
        grants(changed)


def test_a_signature_is_ones_own(plan: Mapping[str, Any]) -> None:
    """No account may sign as another one."""
    for row in granting(plan):
        if row["type"] == "google_service_account_iam_member":
            other = f"projects/{PROJECT}/serviceAccounts/earwitness-notify@{PROJECT}.iam.gserviceaccount.com"
            assert complaints(grants(with_values(plan, row["address"], service_account_id=other))), row["address"]


def test_the_page_says_what_the_plan_does(plan: Mapping[str, Any]) -> None:
    assert PAGE.read_text() == page(grants(plan)), "write it anew: make terraform-docs"


def of_functions(plan: Mapping[str, Any]) -> Mapping[str, Grant]:
    """The grants of functions, by address."""
    return {address: grant for address, grant in by_address(plan).items() if grant.member in CONTENTS}


def granting(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The grants of a plan, as they stand in it."""

    def walk(module: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield from (row for row in module.get("resources", ()) if "_iam_" in row["type"])
        for child in module.get("child_modules", ()):
            yield from walk(child)

    yield from walk(plan["planned_values"]["root_module"])


def copied(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan whose resources may be changed."""
    return {**plan, "planned_values": deepcopy(plan["planned_values"])}


def without(plan: Mapping[str, Any], address: str) -> Mapping[str, Any]:
    """The plan with one resource less."""
    changed = copied(plan)

    def walk(module: dict[str, Any]) -> None:
        module["resources"] = [row for row in module.get("resources", ()) if row["address"] != address]
        for child in module.get("child_modules", ()):
            walk(child)

    walk(changed["planned_values"]["root_module"])
    return changed


def with_values(plan: Mapping[str, Any], address: str, **values: str) -> Mapping[str, Any]:
    """The plan with other values of one resource."""
    changed = copied(plan)
    (row,) = (row for row in granting(changed) if row["address"] == address)
    row["values"].update(values)
    return changed
