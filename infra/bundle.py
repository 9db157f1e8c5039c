"""Bundles: one zip a function, with its code, the modules it reaches, and a lock of the packages it needs.

The same sources give the same bytes: names are sorted, times are zip's first, and nothing is compressed, because
compressors differ between builds of Python.
"""

import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from modulefinder import ModuleFinder
from pathlib import Path
from types import MappingProxyType

from shared.errors import PipelineError

_OUR_PACKAGES = ("infra", "shared")
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_UNIX = 3


@dataclass(frozen=True)
class _Contents:
    """What following imports from a function's ``main.py`` cannot tell.

    Attributes:
        without: Adapters that it never asks for, though ``wiring`` could build them.
        runs: Modules that it starts as processes of their own.
    """

    without: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


_PROBE = ("infra.probe_child",)
CONTENTS: Mapping[str, _Contents] = MappingProxyType(
    {
        "api": _Contents(without=("infra.gcp.push_auth", "infra.modal", "infra.probe")),
        "on_upload": _Contents(without=("infra.modal",), runs=_PROBE),
        "orchestrate": _Contents(without=("infra.probe",)),
        "on_report": _Contents(without=("infra.gcp.push_auth", "infra.probe")),
        "notify": _Contents(without=("infra.modal", "infra.probe")),
        "fetch": _Contents(without=("infra.modal",), runs=_PROBE),
        "sweep": _Contents(runs=_PROBE),
    }
)


@dataclass(frozen=True)
class Bundle:
    """A written bundle."""

    name: str
    path: Path
    size_bytes: int
    sha256: str


def write_bundles(folder: Path) -> Iterator[Bundle]:
    """Write the bundle of every function into a folder, over those of before.

    Raises:
        PipelineError: ``request.invalid`` when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in CONTENTS:
            path = folder / f"{name}.zip"
            draft = path.with_suffix(".zip.new")
            _write(draft, bundle_files(name))
            draft.replace(path)
            content = path.read_bytes()
            yield Bundle(name, path, len(content), hashlib.sha256(content).hexdigest())
    except OSError as error:
        raise PipelineError("request.invalid", f"{folder} cannot be written: {error.strerror}.") from error


def bundle_files(name: str) -> Mapping[str, bytes]:
    """What is in a function's bundle, by name, in order."""
    main = _package("functions") / name / "main.py"
    files = {"main.py": main, "requirements.txt": main.with_name("requirements.txt")}
    root = _package("infra").parent
    for module in _reached(main, CONTENTS[name], root):
        files[module.relative_to(root).as_posix()] = module
    return {inside: files[inside].read_bytes() for inside in sorted(files)}


def _reached(main: Path, contents: _Contents, root: Path) -> Iterator[Path]:
    """Files of our own modules that can be imported from a script, at once or later."""
    finder = ModuleFinder(path=[str(root)], excludes=list(contents.without))
    finder.run_script(str(main))
    for module in contents.runs:
        finder.import_hook(module)
    for name, found in finder.modules.items():
        if name.partition(".")[0] in _OUR_PACKAGES and (file := getattr(found, "__file__", None)):
            yield Path(file)


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _FIRST_TIME)
            entry.external_attr = _MODE
            entry.create_system = _UNIX
            archive.writestr(entry, content)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PipelineError("internal", f"The package '{name}' is not installed.")
    return Path(spec.submodule_search_locations[0])
