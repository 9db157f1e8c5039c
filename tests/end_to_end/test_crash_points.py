"""A process that dies, or an answer that gets lost, at every effect of one job's way: nothing is lost or done twice.

A run without a fault lists the points there are: before and after each call of a port that has an effect, each commit
of the database, each request of a phone, a worker or the dispatcher. Then one run for each point is struck there, goes
on in a new process on what is left, and must come to the very same end (``tests.audit`` says what that is).

``EARWITNESS_TEST_CRASHES=all`` strikes at every point in every way, with two second crashes after each first one.
"""

import json
import multiprocessing.connection
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.audit import Result, audited
from tests.faults import Fault, Kind, points
from tests.small_cloud import Way, live
from tests.struck import ALL, KILLED, SEED, each, some, telling

told = telling
pytestmark = pytest.mark.timeout(3600 if ALL else 300)

WAYS = {
    "put, calls die with the cloud": Way(),
    "resumable, calls live on, another order": Way(resumable=True, runner_lives_on=True, order=SEED),
}
LIMIT_S = 60.0

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.rehearsal"])
_LOOKING = threading.Lock()


class Cloud:
    """One folder and the processes that live on it, one after the other."""

    def __init__(self, folder: Path, way: Way) -> None:
        folder.mkdir()
        self.folder = folder
        self._way = way
        self._lives = 0

    def live(self, fault: Fault | None = None) -> int:
        """One life; how it ended."""
        self._lives += 1
        process = _FORKS.Process(target=live, args=(self.folder, self._way, f"passed{self._lives}.txt", fault))
        # Starting one looks at the others too, and two who look at once would read one's end by halves.
        with _LOOKING:
            process.start()
        ended = multiprocessing.connection.wait([process.sentinel], LIMIT_S)
        with _LOOKING:
            if not ended:
                process.kill()
            process.join()
            code = process.exitcode
        assert ended, "this life does not end"
        assert code in (0, KILLED), (self.folder / "log.txt").read_text()[-2000:]
        return code

    @property
    def passed(self) -> Sequence[str]:
        """The points of the latest life."""
        return points(self.folder / f"passed{self._lives}.txt")

    def result(self) -> Result:
        """What came out, once everything was checked."""
        return audited(self.folder, json.loads((self.folder / "phone.json").read_text())["job_id"])


@dataclass(frozen=True)
class Undisturbed:
    """A job's way without a fault: what all others must come to."""

    way: Way
    points: Sequence[str]
    result: Result

    def cloud(self, folder: Path) -> Cloud:
        return Cloud(folder, self.way)

    def check(self, cloud: Cloud) -> None:
        assert cloud.live() == 0
        assert cloud.result() == self.result

    def struck_alive(self, kind: Kind, folder: Path) -> Callable[[int, str], bool]:
        """A case of :func:`each`: one life, in which a fault strikes that does not end it."""

        def run(number: int, point: str) -> bool:
            cloud = self.cloud(folder / f"{number}")
            assert cloud.live(Fault(point, kind)) == 0
            assert cloud.result() == self.result
            return True

        return run


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    cloud = Cloud(tmp_path_factory.mktemp("undisturbed") / "cloud", request.param)
    assert cloud.live() == 0
    return Undisturbed(request.param, cloud.passed, cloud.result())


def test_the_way_of_a_job_has_these_effects(undisturbed: Undisturbed) -> None:
    """So that a port which is no longer watched is noticed."""
    names = {point.split("#")[0] for point in undisturbed.points}
    assert names == {
        *("jobs.create", "jobs.update", "jobs.mark_published", "events.publish", "database.commit"),
        *("objects.write", "objects.commit", "objects.remove_orphans", "runner.start"),
        *("queue.lease", "queue.acknowledge", "queue.release_leases"),
        *("phone.post", "phone.put", "delivery.post", "worker.put", "worker.post"),
        *({"objects.open_session", "cloud.post"} if undisturbed.way.resumable else ()),
    }
    assert len([point for point in undisturbed.points if point.endswith("/before")]) * 2 == len(undisturbed.points)


def test_a_crash_at_any_point(undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]) -> None:
    def crash(number: int, point: str) -> bool:
        cloud = undisturbed.cloud(tmp_path / f"{number}")
        assert cloud.live(Fault(point)) == KILLED
        undisturbed.check(cloud)
        return True

    cases = undisturbed.points if undisturbed.way.order is None else some(undisturbed.points, 40)
    told(f"{each(cases, crash)} crashes at {len(cases)} of {len(undisturbed.points)} points")


def test_a_second_crash_while_the_first_is_mended(
    undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]
) -> None:
    """The second comes at some point of what the restarted cloud does; the seed says at which."""

    def crash_twice(number: int, point: str) -> bool:
        cloud = undisturbed.cloud(tmp_path / f"{number}")
        assert cloud.live(Fault(point)) == KILLED
        # The restarted cloud passes about as many points as were left.
        left = len(undisturbed.points) - undisturbed.points.index(point)
        struck = cloud.live(Fault(random.Random(f"{SEED} {number}").randint(1, left))) == KILLED
        undisturbed.check(cloud)
        return struck

    cases = some([*undisturbed.points, *undisturbed.points], 40)
    told(f"{each(cases, crash_twice)} second crashes after {len(cases)} first ones")


def test_an_answer_lost_at_any_effect(undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]) -> None:
    """The effect happened, and whoever asked for it is told that nobody answered."""
    found = [point for point in undisturbed.points if point.endswith("/after")]
    found = [point for point in found if point not in commits_of_objects(undisturbed)]
    cases = found if undisturbed.way.order is None else some(found, 20)
    told(f"{each(cases, undisturbed.struck_alive(Kind.LOST_ANSWER, tmp_path))} lost answers of {len(found)} effects")


def test_a_service_that_is_away_once(undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]) -> None:
    """Nobody answers, and the effect did not happen."""
    found = [point for point in undisturbed.points if point.endswith("/before")]
    cases = some(found, 30)
    struck = each(cases, undisturbed.struck_alive(Kind.LOST_ANSWER, tmp_path))
    told(f"{struck} services away at {len(cases)} of {len(found)} effects")


def test_an_object_keeps_its_content_though_its_commit_was_not_answered(
    undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]
) -> None:
    cases = commits_of_objects(undisturbed)
    told(f"{each(cases, undisturbed.struck_alive(Kind.LOST_ANSWER, tmp_path))} lost answers of commits of objects")


def test_a_worker_dies_alone_at_any_request(
    undisturbed: Undisturbed, tmp_path: Path, told: Callable[[str], None]
) -> None:
    cases = [point for point in undisturbed.points if point.startswith("worker.")]
    told(f"{each(cases, undisturbed.struck_alive(Kind.DEAD_WORKER, tmp_path))} dead workers")


def commits_of_objects(undisturbed: Undisturbed) -> Sequence[str]:
    """The points behind which an object's row is stored and whoever stores it has not been told."""
    found, around = [], []
    for point in undisturbed.points:
        effect, side = point.split("/")
        if side == "before":
            around.append(effect)
            continue
        if any(name.startswith("objects.commit") for name in around):
            found.append(point)
        around.remove(effect)
    return found
