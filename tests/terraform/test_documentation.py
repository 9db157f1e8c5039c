"""Each README's tables are what the files say, and the files say something about everything."""

import pytest

from tests.terraform import documentation
from tests.terraform.providers import ROOT

FOLDERS = [folder.relative_to(ROOT).as_posix() for folder in documentation.folders()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_says_everything(folder: str) -> None:
    assert documentation.shortcomings(ROOT / folder) == []


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="BEGIN_TF_DOCS"):
        documentation.documented("# module\n", documentation.read(ROOT / FOLDERS[0]))


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        (
            "object({a = string, b = optional(map(string), {})})",
            ["object({", "  a = string", "  b = optional(map(string), {})", "})"],
        ),
        (
            'map(object({a = optional(object({b = number, c = tuple([string])}), {}), d = optional(string, "x,{}y")}))',
            [
                "map(object({",
                "  a = optional(object({",
                "    b = number",
                "    c = tuple([string])",
                "  }), {})",
                '  d = optional(string, "x,{}y")',
                "}))",
            ],
        ),
    ],
)
def test_a_long_type_has_a_line_for_each_attribute(expression: str, lines: list[str]) -> None:
    assert documentation.type_lines(expression) == lines
