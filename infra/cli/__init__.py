"""The ``earwitness`` command."""

import sys

from infra.cli.commands import app
from infra.cli.console import print_error
from shared.errors import PipelineError


def main() -> None:
    """Run the command line."""
    try:
        app()
    except PipelineError as error:
        print_error(error)
        sys.exit(1)
    except OSError as error:  # a disk that is full, a folder that is not ours
        reason = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
        print_error(PipelineError("service.unavailable", f"{reason or error}."))
        sys.exit(1)
