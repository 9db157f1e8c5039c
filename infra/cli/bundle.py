"""``earwitness bundle``."""

from pathlib import Path

from rich.table import Table

from infra.bundle import write_bundles
from infra.cli.console import errors_as_exit, stdout


def write_all(output: Path) -> int:
    """Write every function's bundle and print what was written."""
    table = Table("bundle", "bytes", "sha256", box=None, pad_edge=False)
    with errors_as_exit():
        for bundle in write_bundles(output):
            table.add_row(bundle.path.name, str(bundle.size_bytes), bundle.sha256)
        stdout.print(table)
    return 0
