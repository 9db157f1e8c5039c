"""The tables of inputs, outputs and resources in the README of each folder under `terraform/`.

``make terraform-docs`` writes them between two marks; a test fails where they are not what the files say.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import hcl2

from tests.terraform.providers import ROOT

BEGIN, END = "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->"
_RESOURCES = "https://registry.terraform.io/providers/hashicorp/google/latest/docs/{kind}/{name}"
_SHORT = 50  # characters of a type that stay on one line
_BLOCK = "__is_block__"
_EMPTY = "\0"  # stands for braces with nothing inside


@dataclass(frozen=True)
class Variable:
    """An input. ``default`` is how it is written, and None where a value must be given."""

    name: str
    description: str
    type: str
    default: str | None
    sensitive: bool


@dataclass(frozen=True)
class Output:
    """An output."""

    name: str
    description: str
    sensitive: bool


@dataclass(frozen=True)
class Folder:
    """What a folder's files declare, in order of names.

    Attributes:
        path: The folder.
        variables: Inputs.
        outputs: Outputs.
        resources: Addresses of resources and data sources with their kinds (``resources`` or ``data-sources``).
        modules: Names of modules that it calls, with their sources.
        terraform: Which versions of Terraform it takes.
        providers: Names of providers, with the versions it takes.
    """

    path: Path
    variables: tuple[Variable, ...]
    outputs: tuple[Output, ...]
    resources: tuple[tuple[str, str], ...]
    modules: tuple[tuple[str, str], ...]
    terraform: str
    providers: tuple[tuple[str, str], ...]


def folders(root: Path = ROOT) -> list[Path]:
    """Every module, example and environment."""
    files = (file.relative_to(root) for file in root.rglob("*.tf"))
    return sorted({root / file.parent for file in files if not {".terraform", "tests"} & set(file.parts)})


@cache
def read(path: Path) -> Folder:
    """What the files of a folder declare."""
    files = [hcl2.loads(file.read_text()) for file in sorted(path.glob("*.tf"))]
    settings = [block for file in files for block in file.get("terraform", [])]
    return Folder(
        path,
        variables=tuple(sorted((_variable(*row) for row in _named(files, "variable")), key=lambda row: row.name)),
        outputs=tuple(sorted((_output(*row) for row in _named(files, "output")), key=lambda row: row.name)),
        resources=tuple(
            sorted(
                (f"{prefix}{_text(type_)}.{name}", kind)
                for block, prefix, kind in (("resource", "", "resources"), ("data", "data.", "data-sources"))
                for type_, of_type in _pairs(files, block)
                for name, _ in _items(of_type)
            )
        ),
        modules=tuple(sorted((name, _text(body["source"])) for name, body in _named(files, "module"))),
        terraform=next((_text(block["required_version"]) for block in settings if "required_version" in block), ""),
        providers=tuple(
            sorted(
                (name, _text(body.get("version", '""')))
                for block in settings
                for required in block.get("required_providers", [])
                for name, body in _items(required)
            )
        ),
    )


def tables(folder: Folder) -> str:
    """What stands between the marks."""
    needs = [("terraform", folder.terraform), *folder.providers]
    parts = [
        _table("Needs", ("name", "version"), ((_code(name), _code(version)) for name, version in needs)),
        _table("Modules", ("name", "source"), ((_code(name), _linked(source)) for name, source in folder.modules)),
        _table("Resources", ("address",), ((_resource(*row),) for row in folder.resources)),
        _table("Inputs", ("name", "what it is", "type", "default"), (_input(row) for row in folder.variables)),
        _table(
            "Outputs",
            ("name", "what it is"),
            ((_code(row.name), _sentences(row.description, row.sensitive)) for row in folder.outputs),
        ),
    ]
    return "\n".join(part for part in parts if part)


def documented(text: str, folder: Folder) -> str:
    """A README with the tables as they are now.

    Raises:
        ValueError: When it does not have the two marks, each once and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise ValueError(f"{folder.path}/README.md needs a line {BEGIN} and after it a line {END}, each once")
    return f"{before}{BEGIN}\n{tables(folder)}{END}{after}"


def shortcomings(path: Path) -> list[str]:
    """What a folder's README and files fail to say."""
    folder = read(path)
    rows = [*folder.variables, *folder.outputs]
    text = (path / "README.md").read_text()
    found = [f"'{row.name}' has no description in sentences" for row in rows if not row.description.endswith(".")]
    found += [f"'{row.name}' has no type" for row in folder.variables if not row.type]
    if documented(text, folder) != text:
        found.append("the tables are out of date: run `make terraform-docs`")
    if "```mermaid" not in text:
        found.append("there is no picture")
    return found


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = list(rows)
    if not cells:
        return ""
    lines = [columns, ["---" for _ in columns], *cells]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _input(row: Variable) -> tuple[str, ...]:
    default = "needed" if row.default is None else _code(row.default)
    return _code(row.name), _sentences(row.description, row.sensitive), _type(row.type), default


def _sentences(description: str, sensitive: bool) -> str:
    text = description.replace("|", "\\|") + (" Sensitive." if sensitive else "")
    return " ".join(text.replace("\n- ", "<br>- ").split())


def type_lines(expression: str) -> list[str]:
    """A type in lines: one for each attribute of an object."""
    return [line.replace(_EMPTY, "{}") for line in _broken(expression.replace("{}", _EMPTY))]


def _type(expression: str) -> str:
    if len(expression) <= _SHORT:
        return _code(expression)
    lines = "<br>".join(type_lines(expression))
    return f"<pre>{lines.replace('|', '&#124;').replace(chr(34), '&quot;')}</pre>"


def _broken(expression: str) -> Iterator[str]:
    line, inside, quoted = "", [""], False
    for character in expression:
        quoted ^= character == '"'
        if quoted:
            line += character
            continue
        if character in "({[":
            inside.append(character)
        elif character in ")}]" and inside.pop() == "{":
            yield line
            line = _indent(inside)
        line += character
        if inside[-1] == "{" and character in "{,":
            yield line.removesuffix(",")
            line = _indent(inside)
        elif line.isspace():
            line = _indent(inside)  # the blank after a comma
    yield line


def _indent(inside: list[str]) -> str:
    return "  " * inside.count("{")


def _resource(address: str, kind: str) -> str:
    type_ = address.removeprefix("data.").partition(".")[0]
    if not type_.startswith("google_"):
        return _code(address)
    return f"[{_code(address)}]({_RESOURCES.format(kind=kind, name=type_.removeprefix('google_'))})"


def _linked(source: str) -> str:
    return f"[{_code(source)}]({source})" if source.startswith(".") else _code(source)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _variable(name: str, body: Mapping[str, Any]) -> Variable:
    return Variable(
        name,
        description=_text(body.get("description", '""')),
        type=_written(body.get("type", "")),
        default=_written(body["default"]) if "default" in body else None,
        sensitive=body.get("sensitive") is True or body.get("ephemeral") is True,
    )


def _output(name: str, body: Mapping[str, Any]) -> Output:
    return Output(name, _text(body.get("description", '""')), body.get("sensitive") is True)


def _named(files: Iterable[Mapping[str, Any]], block: str) -> Iterator[tuple[str, Any]]:
    return ((_text(label), body) for label, body in _pairs(files, block))


def _pairs(files: Iterable[Mapping[str, Any]], block: str) -> Iterator[tuple[str, Any]]:
    return (pair for file in files for labelled in file.get(block, []) for pair in labelled.items())


def _items(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((_text(name), value) for name, value in body.items() if name != _BLOCK)


def _text(value: str) -> str:
    """A string as it is meant: the reader gives it as it is written, with its quotes."""
    if value.startswith('"<<'):
        return dedent("\n".join(value.split("\n")[1:-1])).strip()
    return str(json.loads(value)).replace("$${", "${") if value.startswith('"') else value


def _written(value: Any) -> str:
    """A value or an expression as HCL writes it."""
    match value:
        case str():
            return value[2:-1] if value.startswith("${") else value
        case dict():
            rows = [f"{name} = {_written(inner)}" for name, inner in _items(value)]
            return f"{{ {', '.join(rows)} }}" if rows else "{}"
        case list():
            return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)


def main() -> None:
    """Write the tables into every README."""
    for path in folders():
        readme = path / "README.md"
        before = readme.read_text()
        after = documented(before, read(path))
        if after != before:
            readme.write_text(after)
            sys.stdout.write(f"{readme.relative_to(ROOT.parent)}\n")


if __name__ == "__main__":
    main()
