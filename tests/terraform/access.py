"""``python -m tests.terraform.access`` writes ``terraform/ACCESS.md``: which account may do what, and what for.

It is made from a plan of the whole pipeline, so that it says what Terraform would grant and not what someone meant.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.bundle import CONTENTS, write_bundles
from tests.terraform.access_grants import KNOWN, LISTED, NUMBER, PROJECT, PUBSUB, STORAGE, Grant, grants, held, surplus
from tests.terraform.access_uses import (
    DELIVERIES,
    EVENTS,
    ITSELF,
    MODAL_TOKEN,
    REPORT_KEYS,
    RESULTS,
    SOURCES,
    UPLOADS,
    USES,
    needed,
)
from tests.terraform.providers import MAJORS, ROOT, Terraform, copied_tree, terraform

PAGE = ROOT / "ACCESS.md"
_GIVEN: Mapping[str, Any] = {
    "source": "../modules/pipeline",
    "project": {"id": PROJECT, "number": NUMBER},
    "region": "us-central1",
    "bundles_dir": "${path.module}/bundles",
    "modal_token": {"id": "ak-of-nobody", "secret": "as-of-nobody"},
    "report_keys": ["k" * 64],
    "source_buckets": {"some-tenant": [LISTED]},
}
_INTRODUCTION = """# Who may do what

`make terraform-docs` writes this page from a plan of `modules/pipeline` with its defaults and one listed bucket. A test
fails where the plan says otherwise, where an account may do more or less than its function's code does, and where a
narrower role would do.

What the code does was found by running it (`tests/terraform/access_running.py`) and by following every name from each
function's `main.py` (`access_reach.py`); `access_uses.py` holds the result, with reasons. What a role permits stands in
`roles.json`, as Google publishes it.
"""
_ROLES_ONLY = """
Roles are Google's own. A role made for each account could hold less, but needs the right to make roles, which many
organisations keep for themselves. So a grant may permit what no code does; nothing that Google offers is narrower:
"""
_AGENTS = {PUBSUB: "Pub/Sub's agent", STORAGE: "Cloud Storage's agent"}
_KINDS = {
    **dict.fromkeys((UPLOADS, RESULTS), "bucket"),
    **dict.fromkeys((EVENTS, DELIVERIES), "topic"),
    **dict.fromkeys((REPORT_KEYS, *MODAL_TOKEN), "secret"),
    SOURCES: "listed",
}
_DECISIONS = """
## Why so

- **Whoever may write where something may be already may also delete.** No write here may replace anything
  (`ifGenerationMatch=0`), and an answer of 412 says that an earlier try has done it. Of a write to a name that exists
  Google wants `storage.objects.delete`, and says nowhere that it looks at the condition first. The API writes names
  alone that are new, so it can neither replace nor delete a recording.
- **Whoever looks for an object may list its bucket.** To others Cloud Storage says of an object that is not there that
  it is forbidden (403), and not that it is not there (404).
- **An account signs for itself alone.** `iam.serviceAccountTokenCreator` stands on the account itself. It also lets an
  account make tokens of its own, which it can have anyway.
- **Firestore is granted on the project**, because Google offers nothing below, with a condition that leaves one
  database.
- **A signed URL permits what its signer may do.** So a GPU job, which holds no credentials, can do to the one object of
  a URL what the URL is for, while the account that signed it still may.
- **Buckets whose objects a tenant's jobs may name** (`source_buckets`) are read by `api`, `fetch`, `orchestrate` and
  `sweep`. With the defaults there are none; in the plan of this page there is one.
"""


def planned(
    terraform: Terraform, folder: Path, change: Callable[[Path], object] = lambda _: None, **given: Any
) -> Mapping[str, Any]:
    """A plan of the pipeline with its defaults.

    Args:
        terraform: Plans it.
        folder: An empty one to work in.
        change: Changes the modules before, in a copy of their folder.
        given: Inputs that have other values.
    """
    tree = copied_tree(folder)
    change(tree)
    root = tree / "planned"
    root.mkdir()
    # With a token of nobody the provider looks for no credentials; a plan of something new asks Google nothing.
    provider = {"google": {"project": PROJECT, "access_token": "of nobody"}}
    module = {"provider": provider, "module": {"earwitness": {**_GIVEN, **given}}}
    (root / "main.tf.json").write_text(json.dumps(module))
    list(write_bundles(root / "bundles"))
    terraform.init(root)
    terraform("plan", "-out=plan", "-input=false", "-no-color", folder=root)
    plan: Mapping[str, Any] = json.loads(terraform("show", "-json", "plan", folder=root))
    return plan


def page(granted: Sequence[Grant]) -> str:
    """What stands in ``ACCESS.md``."""
    parts = [
        _INTRODUCTION,
        "\n## Functions\n\nEach runs as an account of its own.\n\n",
        *_matrix([one for one in granted if one.member in CONTENTS]),
        *(_section(name, granted) for name in CONTENTS),
        "\n## Others\n\n",
        *_graph([row.grant for row in KNOWN]),
        "\n",
        *_table(("who", "role", "on", "why"), _others()),
        "\n## What is permitted and not used\n",
        _ROLES_ONLY,
        "\n",
        *_table(("role", "on", "of it no code uses"), _surplus(granted)),
        _DECISIONS,
    ]
    return "".join(parts)


def _matrix(granted: Sequence[Grant]) -> Iterator[str]:
    """Accounts down, things across: which role."""
    things = list(dict.fromkeys(_thing(one) for one in granted))
    roles: dict[tuple[str, str], list[str]] = {}
    for one in granted:
        roles.setdefault((one.member, _thing(one)), []).append(_short(one.role).rpartition(".")[2])
    rows = [(f"`{name}`", *(", ".join(roles.get((name, thing), [])) for thing in things)) for name in CONTENTS]
    yield from _table(("", *things), rows)


def _graph(granted: Sequence[Grant]) -> Iterator[str]:
    """Accounts at the left, things at the right; a role is written at each line between them."""
    yield "```mermaid\nflowchart LR\n"
    members = list(dict.fromkeys(one.member for one in granted))
    held: dict[str, dict[str, list[str]]] = {}
    for one in granted:
        held.setdefault(_thing(one), {}).setdefault(one.member, []).append(_short(one.role).rpartition(".")[2])
    together: dict[str, list[str]] = {}
    for thing, by_member in held.items():
        together.setdefault(json.dumps(by_member), []).append(thing)
    for number, member in enumerate(members):
        yield f'  m{number}(["{_AGENTS.get(member, member)}"])\n'
    for number, (by_member, things) in enumerate(together.items()):
        yield f'  t{number}["{"<br>".join(things)}"]\n'
        for member, roles in json.loads(by_member).items():
            yield f'  m{members.index(member)} -- "{", ".join(roles)}" --> t{number}\n'
    yield "```\n"


def _thing(one: Grant) -> str:
    if one.resource == ITSELF:
        return "each its own account"
    return f"{_KINDS[one.resource]} {one.resource}" if one.resource in _KINDS else one.resource


def _section(function: str, granted: Sequence[Grant]) -> str:
    rows = []
    for one in (one for one in granted if one.member == function):
        uses = [use for use in USES if use.function == function and needed(use).get(one.resource)]
        done = [f"`{use.port}.{'`, `'.join(use.methods)}`: {use.why}" for use in uses]
        rows.append((f"`{_short(one.role)}`", _on(one), "<br>".join(done)))
    own = _graph([one for one in granted if one.member == function])
    return "".join(
        (f"\n### {function}\n\n", *own, "\n", *_table(("role", "on", "which code uses it, and what for"), rows))
    )


def _others() -> Iterator[tuple[str, ...]]:
    for row in KNOWN:
        yield (
            _AGENTS.get(row.grant.member, f"`{row.grant.member}`"),
            f"`{_short(row.grant.role)}`",
            _on(row.grant),
            row.why,
        )


def _surplus(granted: Iterable[Grant]) -> Iterator[tuple[str, ...]]:
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for one in granted:
        if one.member in CONTENTS and (more := surplus(one)):
            whole = {_noun(name) for name in more} - {_noun(name) for name in held(one.role, one.resource) - more}
            told = sorted({f"{_noun(name)}.*" if _noun(name) in whole else name for name in more})
            found.setdefault((one.role, _thing(one), tuple(told)), []).append(one.member)
    for (role, thing, told), members in sorted(found.items()):
        yield f"`{_short(role)}`", f"{thing}: {', '.join(members)}", ", ".join(f"`{name}`" for name in told)


def _noun(permission: str) -> str:
    return permission.rpartition(".")[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |\n"


def _on(one: Grant) -> str:
    return f"{_thing(one)}, where `{one.condition}`" if one.condition else _thing(one)


def _short(role: str) -> str:
    return role.removeprefix("roles/")


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(grants(planned(terraform(MAJORS[-1]), Path(folder)))))


if __name__ == "__main__":
    main()
