"""The audit log: who did what to what."""

from datetime import datetime
from typing import ClassVar

from shared.documents import Document


class AuditEntry(Document):
    """One line.

    Attributes:
        at: When.
        actor: Id of the API key that was used; ``owner`` for the command line and the platform.
        action: Past-tense, as events are named: ``key.created``, ``job.deleted``, ``transcript.edited`` …
        subject: Id of what it was done to.
    """

    collection: ClassVar[str] = "audit_log"
    at: datetime
    actor: str
    action: str
    subject: str
