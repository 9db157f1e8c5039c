"""How long a job is kept that has a time of its own for that."""

from typing import ClassVar

from shared.documents import Document


class Retention(Document):
    """When to look whether a job is to be deleted.

    Attributes:
        document_id: Of the job.
        days: After so many, once it has ended.
    """

    collection: ClassVar[str] = "retentions"
    days: float
