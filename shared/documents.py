"""Small documents beside the jobs: API keys, webhook endpoints and deliveries, answers to repeated requests."""

from datetime import datetime
from typing import ClassVar

from shared.model import Value


class Document(Value):
    """A small document of one collection, changed as one transaction.

    Ids are unique in their collection. Those of a collection that is listed sort by time, as ids of jobs do.

    Attributes:
        collection: Its collection's name.
        document_id: Its id there.
        tenant_id: Whose it is.
        due_at: When someone has something to do about it; found by :meth:`shared.ports.DocumentStore.due`.
        expires_at: From then on it may vanish at any moment.
    """

    collection: ClassVar[str]
    document_id: str
    tenant_id: str
    due_at: datetime | None = None
    expires_at: datetime | None = None
