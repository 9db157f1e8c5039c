"""Lives of small clouds: one that nothing disturbs, one in which something breaks, one that goes on after a crash.

What a killed process leaves is its files as they are at that moment. So a copy of them, taken at a point, is a crash at
that point, and one life that leaves copies gives the crashes at all of its points.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.audit import Result, audited
from tests.faults import Fault, Kind, lead_a_group
from tests.small_cloud import live
from tests.ways import Way


def rehearsed(folder: Path, way: Way) -> tuple[Sequence[str], Result]:
    """A life that nothing disturbs: its points, and what came out."""
    points: list[str] = []
    folder.mkdir()
    live(folder, way, points.append)
    return points, _result(folder)


def leave_copies(folder: Path, way: Way, copies: Mapping[str, Path]) -> None:
    """A life that leaves a copy of its files at some of its points."""
    folder.mkdir()
    live(folder, way, lambda point: _copy(folder, copies[point]) if point in copies else None)


def go_on(way: Way, expected: Result, left: Path, second_at: int | None = None) -> bool:
    """Go on to the end with what a crash left, and with what a second crash left on the way there.

    Args:
        way: How the job goes.
        expected: What must come out, both times.
        left: Files of the crash; removed if all is well.
        second_at: Which point from here, counted from 1, is that of a second crash.

    Returns:
        Whether there was one.
    """
    second = left.with_name(f"{left.name}, twice")
    points: list[str] = []

    def passed(point: str) -> None:
        points.append(point)
        if len(points) == second_at:
            _copy(left, second)

    _check(left, way, expected, passed)
    if not second.exists():
        return False
    _check(second, way, expected, lambda _: None)
    return True


def live_with(way: Way, expected: Result, kind: Kind, folder: Path, point: str) -> bool:
    """A life in which a fault strikes that does not end it; whether it did."""
    points: list[str] = []
    folder.mkdir()
    _check(folder, way, expected, points.append, Fault(point, kind))
    return point in points


def be_killed(folder: Path, way: Way, point: str) -> None:
    """The body of a process that does not live beyond a point."""
    lead_a_group()
    folder.mkdir()
    live(folder, way, lambda _: None, Fault(point))


def _check(
    folder: Path, way: Way, expected: Result, passed: Callable[[str], object], fault: Fault | None = None
) -> None:
    live(folder, way, passed, fault)
    result = _result(folder)
    assert result == expected, f"{result}\ninstead of\n{expected}"
    shutil.rmtree(folder)


def _copy(folder: Path, to: Path) -> None:
    # SQLite makes its index of the log anew; a draft is nothing until it is renamed, which a second thread may just do.
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*-shm", "*.new"))


def _result(folder: Path) -> Result:
    return audited(folder, json.loads((folder / "phone.json").read_text()).get("job_id"))
