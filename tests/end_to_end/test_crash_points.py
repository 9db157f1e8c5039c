"""A process that dies, or an answer that gets lost, at every effect of a job's way: nothing is lost or done twice.

``tests.ways`` has the ways a job can go. A run without a fault lists the points of a way: before and after each call of
a port that has an effect, each commit of the database, each request of a phone, a worker, the dispatcher or the
scheduler. Then one run for each point is struck there, goes on with what is left, and must come to the very same end
(``tests.audit`` says what that is).

``EARWITNESS_TEST_CRASHES=all`` strikes at every point of every way. Otherwise that is the first way's alone, and some
points of the others, behind where they leave the first.
"""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

import pytest

from tests.audit import Result
from tests.faults import Kind
from tests.lives import be_killed, go_on, leave_copies, live_with, rehearsed
from tests.struck import ALL, CORES, KILLED, SEED, each, some
from tests.ways import FIRST, WAYS, Way

pytestmark = pytest.mark.timeout(3600 if ALL else 300)

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.rehearsal"])


@dataclass(frozen=True)
class Undisturbed:
    """A way without a fault: what all others must come to.

    Attributes:
        own: Its points behind where it leaves the first way; all of the first.
    """

    way: Way
    points: Sequence[str]
    own: Sequence[str]
    result: Result

    def cases(self, found: Callable[[str], bool], most: int, most_of_first: int = 1000) -> Sequence[str]:
        """Points to strike at: all, or some of its own."""
        cases = [point for point in (self.points if ALL else self.own) if found(point)]
        return some(cases, most_of_first if self.way == WAYS[FIRST] else most)

    def struck(self, pool: Executor, kind: Kind, folder: Path, cases: Sequence[str]) -> int:
        """Lives in which a fault strikes that does not end them; in how many it did."""
        return each(pool, cases, partial(_live_with, self, kind, folder))


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(CORES, _FORKS) as pool:
        yield pool


@pytest.fixture(scope="module", params=WAYS)
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pool: Executor
) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    first, _ = pool.submit(rehearsed, folder / "first", WAYS[FIRST]).result()
    way = WAYS[request.param]
    points, result = pool.submit(rehearsed, folder / "this", way).result()
    same = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(first, points, strict=False)))
    return Undisturbed(way, points, points if request.param == FIRST else points[same:], result)


def test_a_way_goes_as_it_should_and_has_these_effects(undisturbed: Undisturbed) -> None:
    """So that a port which is no longer watched is noticed."""
    way, result = undisturbed.way, undisturbed.result
    assert list(result.states) == way.states.split()
    assert result.events == dict.fromkeys(way.events, 1)
    assert (not result.objects) == (way.end in ("deleted", "expired"))
    names = {point.split("#")[0] for point in undisturbed.points}
    assert names ^ {
        *("jobs.create", "jobs.update", "jobs.mark_published", "events.publish", "database.commit"),
        *("objects.write", "objects.commit", "objects.remove_orphans", "runner.start"),
        *("queue.lease", "queue.acknowledge", "queue.release_leases"),
        *("phone.post", "phone.put", "delivery.post", "worker.put", "worker.post"),
    } == {*way.more, *way.less}
    assert names == {point.split("#")[0] for point in undisturbed.points if point.endswith("/after")}


def test_a_crash_at_any_point_and_another_while_it_is_mended(
    undisturbed: Undisturbed, pool: Executor, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The second comes at some point of what the restarted cloud does; the seed says at which."""
    cases = undisturbed.cases(lambda _: True, 24)
    copies = {point: tmp_path / point.replace("/", " ") for point in cases}
    pool.submit(leave_copies, tmp_path / "this", undisturbed.way, copies).result()
    assert [point for point, copy in copies.items() if not copy.exists()] == []
    # The restarted cloud passes about as many points as were left.
    left = {point: len(undisturbed.points) - undisturbed.points.index(point) for point in some(cases, len(cases) // 4)}
    second = {point: random.Random(f"{SEED} {point}").randint(1, most) for point, most in left.items()}
    twice = each(pool, cases, partial(_go_on, undisturbed, copies, second))
    tell(f"{len(cases)} crashes at {len(undisturbed.points)} points, {twice} of them followed by a second,")


def test_a_kill_leaves_what_a_copy_has(undisturbed: Undisturbed, pool: Executor, tmp_path: Path) -> None:
    """A process really killed, at a few points: the others are as if."""
    for number, point in enumerate(random.Random(SEED).sample(undisturbed.own, 2)):
        process = _FORKS.Process(target=be_killed, args=(tmp_path / f"{number}", undisturbed.way, point))
        process.start()
        process.join(60.0)
        assert process.exitcode == KILLED
        pool.submit(go_on, undisturbed.way, undisturbed.result, tmp_path / f"{number}").result()


def test_an_answer_lost_at_any_effect(
    undisturbed: Undisturbed, pool: Executor, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The effect happened, and whoever asked for it is told that nobody answered."""
    cases = undisturbed.cases(lambda point: point.endswith("/after"), 12)
    tell(f"{undisturbed.struck(pool, Kind.LOST_ANSWER, tmp_path, cases)} answers lost")


def test_a_service_that_is_away_once(
    undisturbed: Undisturbed, pool: Executor, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Nobody answers, and the effect did not happen."""
    cases = undisturbed.cases(lambda point: point.endswith("/before"), 12, 30)
    tell(f"{undisturbed.struck(pool, Kind.LOST_ANSWER, tmp_path, cases)} services away")


def test_a_worker_dies_alone_at_any_request(
    undisturbed: Undisturbed, pool: Executor, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    cases = undisturbed.cases(lambda point: point.startswith("worker."), 4)
    tell(f"{undisturbed.struck(pool, Kind.DEAD_WORKER, tmp_path, cases)} dead workers")


def _live_with(undisturbed: Undisturbed, kind: Kind, folder: Path, number: int, point: str) -> bool:
    return live_with(undisturbed.way, undisturbed.result, kind, folder / f"{number}", point)


def _go_on(undisturbed: Undisturbed, copies: Mapping[str, Path], second: Mapping[str, int], _: int, point: str) -> bool:
    return go_on(undisturbed.way, undisturbed.result, copies[point], second.get(point))
