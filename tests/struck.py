"""Running many struck clouds side by side, and telling how many there were."""

import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

# Every point in every way, instead of what fits into a minute.
ALL = os.environ.get("EARWITNESS_TEST_CRASHES") == "all"
SEED = 4
KILLED = -9
CORES = os.cpu_count() or 2

T = TypeVar("T")


def each(pool: Executor, cases: Sequence[T], run: Callable[[int, T], bool]) -> int:
    """Run every case, several side by side; how many were struck as planned. All failures are told together."""
    struck, failures = 0, []
    for case, outcome in [(case, pool.submit(run, number, case)) for number, case in enumerate(cases)]:
        try:
            struck += outcome.result()
        except AssertionError as error:
            failures.append(f"{case}: {str(error)[:1500]}")
    assert not failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures)
    return struck


def some(found: Sequence[T], most: int) -> Sequence[T]:
    """All of them where all are wanted, else a seeded few, in order."""
    if ALL or len(found) <= most:
        return found
    return [found[i] for i in sorted(random.Random(SEED).sample(range(len(found)), most))]
