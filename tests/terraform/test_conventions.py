"""What holds for everything under `terraform/`."""

from collections.abc import Callable

from tests.terraform.conventions import complaints, skips
from tests.terraform.providers import ROOT


def test_nothing_is_to_complain_of(tell: Callable[[str], None]) -> None:
    assert complaints(ROOT) == []
    tell(f"{len(skips(ROOT))} checks of Checkov are skipped, each with its reason")
