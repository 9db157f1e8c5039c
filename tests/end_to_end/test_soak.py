"""A short soak: the long one is ``make soak``."""

from pathlib import Path

import pytest

from tests.soak.run import soak


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_done_twice_while_processes_are_killed(tmp_path: Path) -> None:
    result = soak(tmp_path, 40, seed=4, every_s=0.7)
    assert result.is_good, result
    assert sum(result.kills.values()) >= 3
