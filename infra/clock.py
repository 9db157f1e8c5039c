"""The machine's clock as a port."""

from datetime import UTC, datetime


class SystemClock:
    """Implements :class:`shared.ports.Clock`."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)
