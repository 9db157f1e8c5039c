"""Writes what is generated from the models: ``python -m infra.contracts [FOLDER]``.

Without a folder it writes the contracts into ``shared/contracts``, the tables into ``shared/README.md`` and what
Terraform is to know into its module; with one, the contracts alone: a release's snapshot.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import shared
from infra.api.app import create_app
from infra.deployment import deployment
from shared.errors import CATALOGUE
from shared.protobuf import events_proto
from shared.schemas import contract_files
from shared.stages import STAGES, upstream

FOLDER = Path(shared.__file__).parent / "contracts"
OPENAPI = "openapi.json"
PROTO = "events.proto"
README = FOLDER.with_name("README.md")
TERRAFORM = FOLDER.parents[1] / "terraform" / "modules" / "pipeline" / "contract.tfvars.json"

_GENERATED = (".json", ".proto")


def contracts() -> dict[str, str]:
    """Every contract as text, by its path: those of events and documents, and the API's."""
    return {**contract_files(), OPENAPI: _text(create_app().openapi()), PROTO: events_proto()}


def read_contracts(folder: Path) -> dict[str, str]:
    """The contracts that a folder holds, as :func:`contracts` gives them."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in _GENERATED)
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in found}


def terraform_contract() -> str:
    """What Terraform is to know of functions, subscriptions, stages and stores, as a file of variables."""
    return _text({"contract": deployment()})


def write(folder: Path) -> None:
    """Make a folder hold the contracts of this version, and no stale ones."""
    files = contracts()
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for path in read_contracts(folder).keys() - files.keys():
        (folder / path).unlink()


def with_tables(text: str) -> str:
    """A Markdown text with the tables of this version between its marks, ``<!-- begin NAME -->`` and ``end``."""
    for name, table in {"error codes": _error_codes(), "stages": _stages()}.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        head, mark, rest = text.partition(begin)
        if mark:
            text = head + begin + table + end + rest.partition(end)[2]
    return text


def _error_codes() -> str:
    return _table(
        ("code", "HTTP", "retryable", "meaning"),
        ((f"`{s.code}`", str(s.http_status), "yes" if s.retryable else "no", s.meaning) for s in CATALOGUE.values()),
    )


def _stages() -> str:
    return _table(
        ("stage", "consumes", "yields", "files", "waits for", "placement", "limit", "attempts", "progress"),
        (
            (
                f"`{stage.name}`",
                ", ".join(stage.consumes),
                stage.yields,
                ", ".join(f"`{product.filename}`" for product in stage.products),
                ", ".join(before.name for before in upstream(stage, STAGES)),
                stage.placement,
                f"{stage.timeout_s:g} s",
                str(stage.max_attempts),
                f"{stage.weight:g}",
            )
            for stage in STAGES.values()
        ),
    )


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell or "-" for cell in line) + " |\n" for line in lines)


def main(folder: str | None = None) -> None:
    """Write everything, or the contracts alone into another folder."""
    write(Path(folder) if folder else FOLDER)
    if not folder:
        README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
        TERRAFORM.parent.mkdir(parents=True, exist_ok=True)
        TERRAFORM.write_text(terraform_contract(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
