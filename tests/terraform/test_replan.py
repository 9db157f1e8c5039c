"""What is planned again once everything is there: nothing for the same bundles, and one function for a changed one.

That takes an apply, which only the stand-in for Google's provider makes believe.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.bundle import write_bundles
from tests.terraform.providers import Terraform, copied_tree

_GIVEN = {
    "project_id": "some-project",
    "modal_token": {"id": "ak-test", "secret": "as-test"},
    "report_keys": ["k" * 64],
}
_CHANGED = "plan"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles as `earwitness bundle` writes them."""
    folder = tmp_path_factory.mktemp("bundles")
    list(write_bundles(folder))
    return folder


@pytest.fixture(scope="module")
def deployed(newest_terraform: Terraform, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minimal example, applied."""
    if not newest_terraform.stands_in:
        pytest.skip("Google's own provider applies to a real project alone")
    folder = copied_tree(tmp_path_factory.mktemp("deployed")) / "examples" / "minimal"
    (folder / "terraform.tfvars.json").write_text(json.dumps(_GIVEN | {"bundles_dir": str(bundles)}))
    newest_terraform.init(folder)
    newest_terraform("apply", "-auto-approve", "-input=false", "-no-color", folder=folder)
    return folder


def test_the_same_bundles_are_not_deployed_again(
    newest_terraform: Terraform, deployed: Path, bundles: Path, tell: Callable[[str], None]
) -> None:
    made = json.loads(newest_terraform("show", "-json", folder=deployed))["values"]["root_module"]
    for file in bundles.iterdir():
        file.unlink()
    list(write_bundles(bundles))
    newest_terraform("plan", "-detailed-exitcode", "-input=false", "-no-color", folder=deployed)  # 2: changes
    tell(f"{_count(made)} resources, bundles written again: no change")


@pytest.mark.parametrize("name", ["notify", "on_report"])
def test_a_changed_function_alone_is_deployed_again(
    name: str, newest_terraform: Terraform, deployed: Path, bundles: Path, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    for file in bundles.glob("*.zip"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    _change(tmp_path / f"{name}.zip")
    of = f"bundles_dir={tmp_path}"
    newest_terraform("plan", f"-var={of}", f"-out={_CHANGED}", "-input=false", "-no-color", folder=deployed)
    plan = json.loads(newest_terraform("show", "-json", _CHANGED, folder=deployed))
    rows = [row for row in plan["resource_changes"] if row["change"]["actions"] != ["no-op"]]
    changed = sorted((row["type"], row["index"]) for row in rows)
    assert changed == [("google_cloudfunctions2_function", name), ("google_storage_bucket_object", name)]
    tell(", ".join(f"{'+'.join(row['change']['actions'])} {row['address']}" for row in rows))


def _change(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("infra/added.py", "")


def _count(module: dict[str, list[dict[str, object]]]) -> int:
    """Resources of a module and of those that it calls; not what it only reads."""
    own = sum(row["mode"] == "managed" for row in module.get("resources", []))
    return own + sum(_count(child) for child in module.get("child_modules", []))  # type: ignore[arg-type]
