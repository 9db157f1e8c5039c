"""What holds for everything under `terraform/` and no other check looks at."""

import re
from collections.abc import Iterator
from pathlib import Path

import hcl2

from tests.terraform.documentation import folders

_FILES = ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md")
_WHOLE_POLICY = re.compile(r'^resource "(google_\w+_iam_(?:binding|policy|audit_config))"', re.MULTILINE)
_RESOURCE = re.compile(r'^resource "(\w+)" "\w+" \{$(.*?)^\}$', re.MULTILINE | re.DOTALL)
# What a resource must say of its own replacement, which no plan on a stand-in shows.
_REPLACED = {
    "google_firestore_index": ("create_before_destroy = true", "functions still ask for the index that goes"),
    "google_pubsub_subscription_iam_member": ("replace_triggered_by", "a subscription made anew has no grants"),
}
_SKIP = re.compile(r"checkov:skip=(\w*)(:?)[ \t]*([^\n]*)")
_REASON_WORDS = 4


def complaints(root: Path) -> list[str]:
    """What a reviewer would say, by file."""
    return [
        f"{file.relative_to(root)}: {complaint}"
        for folder in folders(root)
        for file, complaint in _complaints(folder, folder.parent.name == "modules")
    ]


def skips(root: Path) -> list[tuple[str, str, str]]:
    """Checks of Checkov that are skipped: the file, the check and the reason."""
    return [
        (file.relative_to(root).as_posix(), found[1], found[3].strip())
        for folder in folders(root)
        for file in sorted(folder.glob("*.tf"))
        for found in _SKIP.finditer(file.read_text())
    ]


def _complaints(folder: Path, is_module: bool) -> Iterator[tuple[Path, str]]:
    for name in _FILES:
        if not (folder / name).is_file():
            yield folder / name, "it is missing"
    for file in sorted(folder.glob("*.tf")):
        text = file.read_text()
        settings = hcl2.loads(text)
        for found in _WHOLE_POLICY.finditer(text):
            yield file, f"{found[1]} takes away what others were granted: use the _iam_member of the same name"
        if "google-beta" in text:
            yield file, "google-beta promises nothing"
        for kind, body in _RESOURCE.findall(text):
            said, why = _REPLACED.get(kind, ("", ""))
            if said not in body:
                yield file, f"{kind} without {said.split()[0]}: {why}"
        for found in _SKIP.finditer(text):
            if len(found[3].split()) < _REASON_WORDS:
                yield file, f"the skip of {found[1] or 'a check'} gives no reason"
        if is_module and "provider" in settings:
            yield file, "a module configures no provider: whoever calls it does"
        if is_module and any("backend" in block for block in settings.get("terraform", [])):
            yield file, "a module has no backend: whoever calls it does"
        if is_module and any("depends_on" in body for row in settings.get("module", []) for body in row.values()):
            yield file, "a module that waits for another as a whole reads everything again at each change"
    versions = " ".join((folder / "versions.tf").read_text().split()) if (folder / "versions.tf").is_file() else ""
    if 'required_version = ">= 1.11"' not in versions or 'version = ">= 6.23, < 9"' not in versions:
        yield folder / "versions.tf", "it takes Terraform >= 1.11 and google >= 6.23, < 9, as all do"
