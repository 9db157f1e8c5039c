"""Terraform with one major of Google's provider, in the majors that the modules promise.

The provider comes from the registry. Where there is a tool that makes a stand-in for it, from the provider's schema and
our `rules.json`, it comes from there: checking and planning then need no cloud, and applying is make-believe.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from platformdirs import user_cache_path

from tests.emulators import missing
from tests.terraform import provider_host

MAJORS = (6, 7, 8)
REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = REPOSITORY / "terraform"
RULES = Path(__file__).with_name("rules.json")
LEFT_BEHIND = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*")
_CACHE = user_cache_path("earwitness") / "terraform-providers"
_TOOL = Path(os.environ.get("EARWITNESS_TFOFFLINE") or "/nowhere")
_HOST = Path(provider_host.__file__)
_TOOL_FILES = ("extract.py", "provider.py", "install.py")
_PIN = r"^\s*{major}\) pins=\"(\S+)"
_REQUIREMENT = """terraform {{
  required_providers {{
    google = {{ source = "{source}", version = "~> {major}.0" }}
  }}
}}
"""
_SOURCE = "registry.terraform.io/hashicorp/google"
_CONFIG = """provider_installation {{
  filesystem_mirror {{
    path    = "{folder}"
    include = ["{source}"]
  }}
  direct {{
    exclude = ["{source}"]
  }}
}}
"""


class Refused(AssertionError):
    """Terraform ended with an error; what it printed is the message."""


@dataclass(frozen=True)
class Terraform:
    """The command, with one major of the provider.

    Attributes:
        major: Major of Google's provider.
        stands_in: Whether the provider only stands in for Google's; one that does can also make believe to apply.
        config: Terraform's own settings, which say where the provider lies.
        host: Socket of the process that serves the stand-in, if one does.
    """

    major: int
    stands_in: bool
    config: Path
    host: str = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the command is run in."""
        return _environment(self.config, self.host)

    def __call__(self, *arguments: str, folder: Path, accept: Iterable[int] = (0,)) -> str:
        """Run a subcommand in a folder and return what it printed.

        Raises:
            Refused: On an exit status that is not to be accepted.
        """
        command = ["terraform", *arguments]
        ended = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=240)
        if ended.returncode not in accept:
            raise Refused(f"{' '.join(command)} in {folder.name}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def init(self, folder: Path) -> None:
        """Make a folder ready, without its backend."""
        self("init", "-backend=false", "-input=false", "-no-color", folder=folder)


def copied_tree(to: Path) -> Path:
    """A copy of `terraform/`, so that no lock file and no state gets into it."""
    return Path(shutil.copytree(ROOT, to / "terraform", ignore=LEFT_BEHIND))


def terraform(major: int) -> Terraform:
    """Terraform with a major of the provider, which is fetched or made if it is not there yet.

    Where that cannot be, the test is skipped on a user's machine and fails where ``CI=true``.
    """
    if shutil.which("terraform") is None:
        missing("Terraform is not installed")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(_CACHE / "lock"):
        config = _standing_in(major) if _TOOL.is_dir() else _from_registry(major)
    return Terraform(major, stands_in=_TOOL.is_dir(), config=config)


@contextmanager
def hosted(terraform: Terraform) -> Iterator[Terraform]:
    """Terraform with its stand-in for the provider in one process, which ends with this."""
    if not terraform.stands_in:
        yield terraform
        return
    mirror = terraform.config.parent
    (compiled,) = mirror.glob("terraform-provider-*.zip")
    with TemporaryDirectory() as folder:
        socket = f"{folder}/host"
        process = subprocess.Popen(
            [_python_of_tool(), "-E", mirror / _HOST.name, compiled, mirror / RULES.name],
            env={**os.environ, provider_host.ADDRESS: socket},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdin and process.stdout and process.stdout.readline() == b"ready\n"
            try:
                yield replace(terraform, host=socket)
            finally:
                # Not until the end of its output, which a server that Terraform left behind might hold open.
                process.stdin.close()
                process.wait(timeout=30)


def _from_registry(major: int) -> Path:
    """What an ordinary `init` downloads lies in Terraform's cache as a mirror has it."""
    folder = _CACHE / f"registry-{major}"
    config = folder / "terraform.rc"
    if config.exists():
        return config
    folder.mkdir(exist_ok=True)
    (folder / "main.tf").write_text(_REQUIREMENT.format(source=_SOURCE, major=major))
    ended = subprocess.run(
        ["terraform", f"-chdir={folder}", "init", "-input=false", "-no-color"],
        env=_environment() | {"TF_PLUGIN_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        missing(f"Google's provider {major} cannot be downloaded: {ended.stderr.strip()}")
    config.write_text(_CONFIG.format(folder=folder, source=_SOURCE))
    return config


def _standing_in(major: int) -> Path:
    """A mirror with the stand-in; another tool or other rules make another mirror."""
    found = re.search(_PIN.format(major=major), (_TOOL / "check.sh").read_text(), re.MULTILINE)
    assert found, f"{_TOOL} knows no provider {major}"
    python = _python_of_tool()
    schema = _CACHE / f"schema-{_key([found[1].encode(), (_TOOL / 'extract.py').read_bytes()])}.json.gz"
    if not schema.exists():
        _extract(found[1], python, schema)
    mirror = _CACHE / f"mirror-{major}-{_key([schema.name.encode(), *map(Path.read_bytes, _mirrored())])}"
    config = mirror / "terraform.rc"
    if not config.exists():
        _make_mirror(python, schema, mirror)
    return config


def _extract(wheel: str, python: Path, schema: Path) -> None:
    folder = _CACHE / "download"
    shutil.rmtree(folder, ignore_errors=True)
    _made([python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wheel])
    (file,) = folder.glob("*.whl")
    draft = folder / schema.name
    _made([python, _TOOL / "extract.py", file, "--out", draft])
    draft.replace(schema)
    shutil.rmtree(folder)


def _make_mirror(python: Path, schema: Path, mirror: Path) -> None:
    """The tool and the rules lie with the mirror, so that no change to either gets into one that exists."""
    shutil.rmtree(mirror, ignore_errors=True)
    mirror.mkdir()
    for file in _mirrored():
        shutil.copy(file, mirror)
    _made([python, mirror / "install.py", schema, "--mirror", mirror, "--rules", mirror / RULES.name])
    (program,) = mirror.glob(f"{_SOURCE}/*/*/terraform-provider-*")
    start, ordinary = program.read_text().splitlines()
    hosted = f'[ -n "${provider_host.ADDRESS}" ] && exec {python} -IS {mirror / _HOST.name}'
    program.write_text(f"{start}\n{hosted}\n{ordinary}\n")


def _mirrored() -> list[Path]:
    return [*(_TOOL / name for name in _TOOL_FILES), RULES, _HOST]


def _python_of_tool() -> Path:
    requirements = _TOOL / "requirements.txt"
    folder = _CACHE / f"venv-{_key([requirements.read_bytes(), sys.version.encode()])}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _made([sys.executable, "-m", "venv", folder])
        _made([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", requirements])
        (folder / "complete").touch()
    return folder / "bin" / "python"


def _made(command: list[str | Path]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        missing(f"{' '.join(map(str, command))}: {ended.stderr.strip()}")


def _key(contents: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


def _environment(config: Path | None = None, host: str = "") -> Mapping[str, str]:
    """Ours, without what would change what Terraform does, such as another's variables, and without anyone's rights."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_VAR_", "TF_CLI_ARGS"))}
    quiet = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOOGLE_OAUTH_ACCESS_TOKEN": "none"}
    given = {"TF_CLI_CONFIG_FILE": str(config or ""), provider_host.ADDRESS: host}
    return kept | quiet | {name: value for name, value in given.items() if value}
