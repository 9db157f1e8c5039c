"""What every command prints with: results to stdout, everything else to stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from shared.errors import ErrorInfo, PipelineError

# Names and messages may be anyone's text, so none is taken for markup.
stderr = Console(stderr=True, highlight=False, markup=False)
# Off a terminal nothing is narrow: a program that reads a table wants it whole.
stdout = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 500)


def seen(text: str) -> str:
    """Anyone's text for a terminal, which would obey what it does not show."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def print_error(error: ErrorInfo | PipelineError, subject: str = "") -> None:
    """One line: ``error: <code>: <sentence>``, with what it is about if there are several."""
    message = f"{subject}: {error.message}" if subject else error.message
    print(f"error: {error.code}: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 (never wrapped or styled)


@contextmanager
def errors_as_exit() -> Iterator[None]:
    """Turn a typed error into its line and exit status 1.

    Raises:
        SystemExit: With status 1.
    """
    try:
        yield
    except PipelineError as error:
        print_error(error)
        raise SystemExit(1) from error
