"""``earwitness keys``: API keys of a local cloud's state, or of a project on Google Cloud."""

from pathlib import Path

from rich.table import Table

from infra.cli.console import errors_as_exit, seen, stdout
from infra.cli.stores import open_stores
from infra.pipeline.keys import create_key, list_keys, revoke_key, rotate_key
from shared.keys import DEFAULT_SCOPES


def create(name: str, tenant: str, scopes: str, data: Path | None) -> int:
    """Make a key and print its token."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()] or list(DEFAULT_SCOPES)
    with errors_as_exit():
        made = create_key(open_stores(data), tenant, name, scopes=wanted)
    stdout.print(made.token, markup=False, soft_wrap=True)
    return 0


def show(tenant: str, data: Path | None) -> int:
    """Print all keys of a tenant."""
    table = Table("key", "name", "begins", "created", "last used", "state", box=None, pad_edge=False)
    with errors_as_exit():
        stores, after = open_stores(data), None
        while page := list_keys(stores, tenant, after=after):
            for key in page:
                used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
                state = "revoked" if key.revoked_at else "good"
                created = f"{key.created_at:%Y-%m-%d %H:%M}"
                table.add_row(key.document_id, seen(key.name), key.prefix, created, used, state)
            after = page[-1].document_id
    stdout.print(table if table.row_count else "No keys.")
    return 0


def rotate(key_id: str, tenant: str, grace_s: float, data: Path | None) -> int:
    """Give a key another token and print it."""
    with errors_as_exit():
        made = rotate_key(open_stores(data), tenant, key_id, grace_s=grace_s)
    stdout.print(made.token, markup=False, soft_wrap=True)
    return 0


def revoke(key_id: str, tenant: str, data: Path | None) -> int:
    """End a key."""
    with errors_as_exit():
        revoke_key(open_stores(data), tenant, key_id)
    stdout.print(f"{key_id}: revoked.")
    return 0
