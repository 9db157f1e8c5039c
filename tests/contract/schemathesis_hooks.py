"""What the fuzzer is told beside its configuration. Loaded by schemathesis, in a process of its own."""

from typing import Any
from urllib.parse import unquote

import schemathesis


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Leave out headers that nobody knows, which are no mistake, and line breaks in paths.

    Functions-framework answers those itself, in plain text, before the API sees anything.
    """
    if any("\n" in unquote(str(value)) for value in (case.path_parameters or {}).values()):
        return False
    return "x-schemathesis-unknown-property" not in {name.lower() for name in (case.headers or {})}


@schemathesis.check
def refused_by_a_rule_and_not_by_its_type(ctx: Any, response: Any, case: Any) -> None:
    """What the reference calls valid is refused, if at all, by a rule of ours, and never because of a field's type.

    The check that comes with schemathesis cannot tell these apart, so that it is told to allow 400.
    """
    meta = case.meta
    if response.status_code == 400 and meta is not None and meta.generation.mode.is_positive:
        errors = response.json().get("errors")
        assert not errors, f"valid by the reference, and refused: {errors}"
