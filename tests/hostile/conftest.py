"""The corpus, passed once for all tests of a file that judge it."""

import os
from collections.abc import Iterator, Sequence

import pytest

from tests.hostile.corpus import corpus
from tests.hostile.hostile import Hostile
from tests.hostile.passing import Passed, run
from tests.hostile.watching import Baited, trap

SEED = int(os.environ.get("EARWITNESS_TEST_HOSTILE_SEED", "20"))
# Multiplies files and the size of bombs; the time grows alike.
SCALE = int(os.environ.get("EARWITNESS_TEST_HOSTILE_SCALE", "1"))


@pytest.fixture(scope="session")
def baited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Baited]:
    """Bait, and who took it."""
    with trap(tmp_path_factory.mktemp("bait")) as baited:
        yield baited


@pytest.fixture(scope="session")
def files(baited: Baited) -> Sequence[Hostile]:
    """The corpus."""
    return list(corpus(SEED, baited.bait, scale=SCALE))


@pytest.fixture(scope="session")
def passed(files: Sequence[Hostile], baited: Baited, tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """All of it, through prober and decoder."""
    return run(files, tmp_path_factory.mktemp("hostile"), baited)
