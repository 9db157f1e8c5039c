"""Which operations each function's code could perform: every use of a port that can be reached from its ``main.py``.

A graph of names: what a definition or a table of a module mentions, it reaches. Whoever mentions a class reaches all
its methods, and a decorated definition is reached by whoever reaches what decorates it, as routes are by their router.
That is more than what ever runs, and misses nothing that is written as ``services.port.method``: ``test_access`` holds
what was seen against it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from infra.bundle import bundle_files
from tests.terraform.access_uses import PORTS

# A module's name, and that of something at its top; "" for what runs when the module is imported.
Node = tuple[str, str]
# What starts a thread is listed, too, as if it were a method of a port.
THREADS = ("ThreadPoolExecutor", "Thread")
# Mentions every adapter, and signs a URL itself for the child that probes.
_PROBING: Node = ("infra.wiring", "GoogleServices")


@dataclass
class _Graph:
    reaches: dict[Node, set[Node]] = field(default_factory=lambda: defaultdict(set))
    uses: dict[Node, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))


@cache
def reachable(function: str) -> Mapping[tuple[str, str], frozenset[str]]:
    """Where each operation (port and method) is used that a function's code reaches, from its bundle alone."""
    graph = _Graph()
    for path, content in bundle_files(function).items():
        if path.endswith(".py"):
            _read(graph, _module(path), ast.parse(content))
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    seen: set[Node] = set()
    waiting: list[Node] = [("main", ""), ("main", function)]
    while waiting:
        node = waiting.pop()
        if node in seen or node == _PROBING:
            continue
        seen.add(node)
        waiting += graph.reaches.get(node, ())
        for use in graph.uses.get(node, ()):
            found[use].add(f"{node[0]}.{node[1]}")
    if ("prober", "probe") in found:
        found["objects", "sign_download"].add(".".join(_PROBING))
    return {use: frozenset(places) for use, places in found.items()}


def _module(path: str) -> str:
    return ".".join(PurePosixPath(path).with_suffix("").parts).removesuffix(".__init__")


def _read(graph: _Graph, module: str, tree: ast.Module) -> None:
    names: dict[str, Node] = {}
    for statement in ast.walk(tree):
        names.update(_imported(statement))
    for statement in tree.body:
        for name in _defined(statement):
            names[name] = (module, name)
    for statement in tree.body:
        own = [(module, name) for name in _defined(statement)]
        for node in own or [(module, "")]:
            for part in ast.walk(statement):
                _look(graph, node, part, names)
        for decorator in getattr(statement, "decorator_list", ()):
            for part in ast.walk(decorator):
                if isinstance(part, ast.Name) and part.id in names:
                    graph.reaches[names[part.id]].update(own)


def _look(graph: _Graph, node: Node, part: ast.AST, names: Mapping[str, Node]) -> None:
    if isinstance(part, ast.Name) and part.id in THREADS:
        graph.uses[node].add(("threads", part.id))
    if isinstance(part, ast.Name) and part.id in names:
        graph.reaches[node].add(names[part.id])
        graph.reaches[node].add((names[part.id][0], ""))
    if isinstance(part, ast.Attribute):
        if isinstance(part.value, ast.Name) and part.value.id in names:  # a module's
            owner = names[part.value.id]
            graph.reaches[node].add((f"{owner[0]}.{owner[1]}".rstrip("."), part.attr))
        if part.attr in THREADS:
            graph.uses[node].add(("threads", part.attr))
        if isinstance(part.value, ast.Attribute) and part.value.attr in PORTS:
            graph.uses[node].add((part.value.attr, part.attr))


def _imported(statement: ast.AST) -> Iterator[tuple[str, Node]]:
    if isinstance(statement, ast.ImportFrom) and statement.module:
        for alias in statement.names:
            yield alias.asname or alias.name, (statement.module, alias.name)
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
