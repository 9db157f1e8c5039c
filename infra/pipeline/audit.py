"""Writing and reading the audit log."""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from infra.pipeline.outbox import Stores
from shared.audit import AuditEntry

# The command line, and callers that the platform in front lets through.
OWNER = "owner"
KEPT = timedelta(days=365)


def note(stores: Stores, tenant_id: str, actor: str, action: str, subject: str) -> None:
    """Add a line."""
    now = stores.clock.now()
    stores.documents.create(
        AuditEntry(
            document_id=f"audit_{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}",
            tenant_id=tenant_id,
            at=now,
            actor=actor or OWNER,
            action=action,
            subject=subject,
            expires_at=now + KEPT,
        )
    )


def read_audit(stores: Stores, tenant_id: str, *, limit: int = 100, after: str | None = None) -> Sequence[AuditEntry]:
    """Lines of a tenant, newest first."""
    return stores.documents.find(AuditEntry, tenant_id=tenant_id, limit=limit, after=after)
