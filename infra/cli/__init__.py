"""The ``earwitness`` command."""

from infra.cli.commands import app


def main() -> None:
    """Run the command line."""
    app()
