"""Running many struck clouds side by side, and telling how many there were."""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

# Every point in every way, instead of what fits into a minute.
ALL = os.environ.get("EARWITNESS_TEST_CRASHES") == "all"
SEED = 4
KILLED = -9

T = TypeVar("T")


@pytest.fixture
def telling(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Prints a line that is seen, with how long the test took until then."""
    begun = time.monotonic()

    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line} in {time.monotonic() - begun:.1f} s", end=" ")

    yield tell


def each(cases: Sequence[T], run: Callable[[int, T], bool]) -> int:
    """Run every case, several side by side; how many were struck as planned. All failures are told together."""

    def tried(numbered: tuple[int, T]) -> tuple[bool, str]:
        try:
            return run(*numbered), ""
        except AssertionError as error:
            return True, f"{numbered[1]}: {str(error)[:1500]}"

    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        outcomes = list(pool.map(tried, enumerate(cases)))
    failures = [failure for _, failure in outcomes if failure]
    assert not failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures)
    return sum(struck for struck, _ in outcomes)


def some(found: Sequence[T], most: int) -> Sequence[T]:
    """All of them where all are wanted, else a seeded few, in order."""
    if ALL or len(found) <= most:
        return found
    return [found[i] for i in sorted(random.Random(SEED).sample(range(len(found)), most))]
