"""Counts of requests of this process, by route and status: kept in plain lists, because every request pays for them."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

# Upper ends, in seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class Seen:
    """Requests of one kind."""

    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


class RequestCounts:
    """Requests by method, route and status."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], Seen] = {}

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one."""
        seen = self._seen.get((method, route, status))
        if seen is None:
            seen = self._seen.setdefault((method, route, status), Seen())
        seen.sum_s += took_s
        seen.buckets[bisect_left(BUCKETS, took_s)] += 1

    def __iter__(self) -> Iterator[tuple[tuple[str, str, int], Seen]]:
        """What was counted so far."""
        return iter(list(self._seen.items()))


request_counts = RequestCounts()
