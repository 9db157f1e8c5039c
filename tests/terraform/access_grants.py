"""Who may do what, as a plan of Terraform says, and what is wrong with that.

A grant is right when the account needs it, all of it that Google lets one choose, and nothing less would do: what a
function needs is in ``access_uses``, and what a role holds in ``roles.json``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from infra.bundle import CONTENTS
from tests.terraform.access_uses import (
    DATABASE,
    DELIVERIES,
    EVENTS,
    ITSELF,
    MODAL_TOKEN,
    REPORT_KEYS,
    RESULTS,
    SOURCES,
    UPLOADS,
    Resource,
    needed_by,
)

PROJECT, NUMBER, PREFIX = "some-project", "123456789012", "earwitness"
# A bucket of someone else's, whose objects a tenant's jobs may name.
LISTED = "archive"
_ROLES = Path(__file__).with_name("roles.json")
_GRANTS = re.compile(r"google_\w+_iam_(member|binding|policy)")
# What says on which thing a grant stands, by the type of its resource.
_ON: Mapping[str, str] = {
    "google_artifact_registry_repository_iam_member": "repository",
    "google_cloud_run_v2_service_iam_member": "name",
    "google_kms_crypto_key_iam_member": "crypto_key_id",
    "google_project_iam_member": "project",
    "google_pubsub_subscription_iam_member": "subscription",
    "google_pubsub_topic_iam_member": "topic",
    "google_secret_manager_secret_iam_member": "secret_id",
    "google_service_account_iam_member": "service_account_id",
    "google_storage_bucket_iam_member": "bucket",
}
_NAMES: Mapping[tuple[str, str], Resource] = {
    ("bucket", f"{PROJECT}-{PREFIX}-uploads"): UPLOADS,
    ("bucket", f"{PROJECT}-{PREFIX}-results"): RESULTS,
    ("bucket", LISTED): SOURCES,
    ("topic", f"{PREFIX}-events"): EVENTS,
    ("topic", f"{PREFIX}-deliveries"): DELIVERIES,
    **{("secret_id", f"{PREFIX}-{name.replace('_', '-')}"): name for name in (REPORT_KEYS, *MODAL_TOKEN)},
}
# What a role can do there: the rest of its permissions is about other things.
_SCOPES: Mapping[Resource, str] = {
    DATABASE: "datastore.",
    EVENTS: "pubsub.topics.",
    DELIVERIES: "pubsub.topics.",
    UPLOADS: "storage.",
    RESULTS: "storage.",
    SOURCES: "storage.",
    ITSELF: "iam.serviceAccounts.",
    **dict.fromkeys((REPORT_KEYS, *MODAL_TOKEN), "secretmanager.versions."),
}
_TOO_MUCH = re.compile(r"roles/(owner|editor|viewer|browser)|.*(admin|owner|editor)", re.IGNORECASE)
_ONE_DATABASE = f"resource.name == 'projects/{PROJECT}/databases/(default)'"
PUBLIC = ("api", "on_report")


@dataclass(frozen=True, order=True)
class Grant:
    """That an account has a role on one thing.

    Attributes:
        member: A function, one of the accounts that call them, or whoever it is by the name that Google has for it.
        resource: What the role is for.
        role: Its name.
        condition: Where else it holds, as an expression.
    """

    member: str
    resource: Resource
    role: str
    condition: str = ""


@dataclass(frozen=True)
class Known:
    """A grant that is not a function's, and why it is there."""

    grant: Grant
    why: str


PUBSUB, STORAGE = f"service-{NUMBER}@gcp-sa-pubsub", f"service-{NUMBER}@gs-project-accounts"
_CALLS = "roles/run.invoker"
_COPIES = f'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-{NUMBER}-us-central1")'


def _known() -> Iterator[Known]:
    for function in PUBLIC:
        yield Known(Grant("allUsers", f"function {function}", _CALLS), "asks callers for a key or a token itself")
    for function in ("fetch", "notify", "orchestrate"):
        yield Known(Grant("pushes", f"function {function}", _CALLS), "Pub/Sub pushes as this account")
    yield Known(Grant("scheduler", "function sweep", _CALLS), "Cloud Scheduler calls as this account")
    yield Known(Grant("uploads", "function on_upload", _CALLS), "Eventarc calls as this account")
    yield Known(
        Grant("uploads", "project", "roles/eventarc.eventReceiver"),
        "Eventarc wants it on the project, and grants nothing narrower",
    )
    yield Known(
        Grant(STORAGE, "project", "roles/pubsub.publisher"),
        "the bucket tells of uploads on a topic that Eventarc makes, whose name nobody knows before",
    )
    yield Known(
        Grant(PUBSUB, "topic dead-letters", "roles/pubsub.publisher"), "Pub/Sub gives up what no function would take"
    )
    for name in ("deliveries", "fetch", "notify", "orchestrate"):
        yield Known(
            Grant(PUBSUB, f"subscription {name}", "roles/pubsub.subscriber"),
            "it takes what it gives up out of the subscription",
        )
    yield Known(Grant("build", "repository functions", "roles/artifactregistry.writer"), "Cloud Build stores images")
    yield Known(Grant("build", "bucket functions", "roles/storage.objectViewer"), "Cloud Build reads the bundles")
    yield Known(
        Grant("build", "project", "roles/storage.objectViewer", _COPIES),
        "Cloud Functions copies each bundle into a bucket that it makes",
    )
    yield Known(Grant("build", "project", "roles/logging.logWriter"), "Cloud Logging grants writing on a project alone")


KNOWN: tuple[Known, ...] = tuple(_known())


@cache
def roles() -> Mapping[str, frozenset[str]]:
    """The permissions of each role that is considered."""
    return {name: frozenset(rows) for name, rows in json.loads(_ROLES.read_text())["roles"].items()}


def grants(plan: Mapping[str, Any]) -> Sequence[Grant]:
    """All grants of a plan, in order; see :func:`by_address`."""
    return sorted(by_address(plan).values())


def by_address(plan: Mapping[str, Any]) -> Mapping[str, Grant]:
    """All grants of a plan (``terraform show -json``), by the addresses of their resources.

    Raises:
        AssertionError: For what grants in another way than one role to one member, and what the plan does not tell.
    """
    rows = {row["address"]: row for row in _resources(plan["planned_values"]["root_module"])}
    return {address: _grant(plan, rows, row) for address, row in rows.items() if _GRANTS.match(row["type"])}


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from _resources(child)


def _grant(plan: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> Grant:
    assert row["type"] in _ON, f"{row['address']} grants in a way that nobody knows here"
    on, values = _ON[row["type"]], row["values"]
    member = values.get("member") or _member_of_account(plan, rows, row)
    assert values.get(on) and values.get("role"), f"the plan does not tell what {row['address']} grants"
    conditions = [condition["expression"] for condition in values.get("condition") or ()]
    resource = _resource(on, values, member, conditions)
    return Grant(_named(member), resource, str(values["role"]), *(() if resource == DATABASE else conditions))


def _member_of_account(plan: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """The member of a grant to an account that its module makes: known is which one, before its address is."""
    *modules, resource = re.split(r"\.(?=module\.|google_)", row["address"])
    configuration = plan["configuration"]["root_module"]
    for module in modules:
        configuration = configuration["module_calls"][module.removeprefix("module.")]["module"]
    (declared,) = (one for one in configuration["resources"] if one["address"] == resource.partition("[")[0])
    references = declared["expressions"]["member"].get("references", ())
    for name in references:
        if (account := rows.get(".".join([*modules, name]))) and account["type"] == "google_service_account":
            return f"serviceAccount:{account['values']['account_id']}@{PROJECT}.iam.gserviceaccount.com"
    raise AssertionError(f"the plan does not tell whom {row['address']} is for")


def _named(member: str) -> str:
    """A function's or caller's name for one of our accounts; otherwise the address without what is always the same."""
    kind, _, address = member.partition(":")
    ours = re.fullmatch(rf"{PREFIX}-([\w-]+)@{PROJECT}\.iam\.gserviceaccount\.com", address)
    if kind == "serviceAccount" and ours:
        name = ours[1].replace("-", "_")
        return name if name in CONTENTS else ours[1]
    return (address or member).removesuffix(".iam.gserviceaccount.com")


def _resource(on: str, values: Mapping[str, Any], member: str, conditions: Sequence[str]) -> Resource:
    name = str(values[on]).rpartition("/")[2]
    if values.get("project") not in (None, PROJECT):
        return f"{on} {name} of another project"
    if on == "project":
        return DATABASE if conditions == [_ONE_DATABASE] else on
    if on == "service_account_id":
        return ITSELF if member == f"serviceAccount:{name}" else f"account {name}"
    if on == "name":
        return f"function {name.removeprefix(f'{PREFIX}-').replace('-', '_')}"
    return _NAMES.get((on, name)) or f"{on} {name.removeprefix(f'{PROJECT}-').removeprefix(f'{PREFIX}-')}"


def complaints(granted: Iterable[Grant]) -> Sequence[str]:
    """What is wrong with the grants of a deployment, in sentences; nothing, if they are right."""
    given = list(granted)
    found = [f"{_told(one)} is granted twice" for one in sorted({one for one in given if given.count(one) > 1})]
    found += [f"{_told(one)}: nobody is to have such a role" for one in given if _TOO_MUCH.fullmatch(one.role)]
    known = {row.grant for row in KNOWN}
    others = {one for one in given if one.member not in CONTENTS}
    found += [f"{_told(one)}: nobody knows why" for one in sorted(others - known)]
    found += [f"{_told(one)} is missing" for one in sorted(known - others)]
    for function in CONTENTS:
        found += _of_function(function, [one for one in given if one.member == function])
    return found


def _of_function(function: str, given: Sequence[Grant]) -> Iterator[str]:
    """What is wrong with the grants of one function."""
    needed = needed_by(function)
    for one in given:
        if one.resource not in needed:
            yield f"{_told(one)}: its code does nothing there"
    for resource, permissions in needed.items():
        there = [one for one in given if one.resource == resource]
        if unknown := [one.role for one in there if one.role not in roles()]:
            yield f"roles.json does not know {', '.join(unknown)}"
        else:
            yield from _on_one(function, resource, permissions, there)


def _on_one(function: str, resource: Resource, needed: frozenset[str], given: Sequence[Grant]) -> Iterator[str]:
    """What is wrong with the grants of one account on one thing."""
    permitted = [held(one.role, resource) for one in given]
    if missing := needed - frozenset().union(*permitted):
        yield f"{function} lacks {', '.join(sorted(missing))} on {resource}"
        return
    for number, one in enumerate(given):
        rest = needed - frozenset().union(*permitted[:number], *permitted[number + 1 :])
        if not rest:
            yield f"{_told(one)}: its code does not need it"
        elif less := _less(resource, rest, len(permitted[number])):
            yield f"{_told(one)}: {' and '.join(less)} would do"


@cache
def _less(resource: Resource, needed: frozenset[str], than: int) -> Sequence[str]:
    """Fewer permissions that hold all that is needed: of one role, or of two."""
    for count in (1, 2):
        for some in combinations(roles(), count):
            together = frozenset().union(*(held(role, resource) for role in some))
            if needed <= together and len(together) < than:
                return some
    return ()


@cache
def held(role: str, resource: Resource) -> frozenset[str]:
    """What a role permits on a thing."""
    return frozenset(name for name in roles()[role] if name.startswith(_SCOPES[resource]))


def surplus(one: Grant) -> frozenset[str]:
    """What a function's grant permits beyond what its code does."""
    return held(one.role, one.resource) - needed_by(one.member)[one.resource]


def _told(one: Grant) -> str:
    return f"{one.member} has {one.role} on {one.resource}"
