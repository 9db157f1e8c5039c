"""What every stage runner promises: an attempt is started once, is over one day, and what came of it is known.

``local`` is the local runner, whose workers are stand-ins; ``modal`` is the runner of Modal, with Modal's own client,
on a server of this machine, which runs stand-in classes in Modal's own containers as processes. What is said of a
container that crashes is this server's word, not Modal's.
"""
# ruff: noqa: F811 - fixtures are imported, and named again where they are asked for

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.runner import LocalRunner
from shared.errors import PipelineError
from shared.events import StageCompleted
from shared.options import JobOptions
from shared.ports import Call, CallState
from shared.requests import StageRequest
from tests.clouds import STANDIN, behave, starts, wait_for
from tests.contract.runners import Backend, deployed, over, server  # noqa: F401 - the fixtures
from tests.unit.test_attempt import Cloud, cloud, request  # noqa: F401 - the fixture


@pytest.fixture(params=["local", "modal"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "modal":
        yield request.getfixturevalue("deployed")
        return
    runner = LocalRunner(tmp_path, tmp_path / "logs", worker=STANDIN)

    def shorten(request: StageRequest) -> StageRequest:
        return request.model_copy(update={"deadline": datetime.now(UTC) + timedelta(seconds=2)})

    yield Backend(runner, tmp_path, shorten)
    runner.close()


def has_started(backend: Backend, job_id: str) -> bool:
    return any(job_id == started for _, started, _, _ in starts(backend.folder))


def test_an_attempt_runs_and_its_report_is_kept(backend: Backend, cloud: Cloud) -> None:
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert (call.state, call.error) == (CallState.SUCCEEDED, None)
    assert isinstance(call.report, StageCompleted)
    assert (call.report.stage, call.report.attempt, call.report.metrics.audio_s) == ("transcribe", 2, 2.0)
    assert list(cloud.artifacts) == ["/words.json?signature=s"]
    assert cloud.last_report == call.report


def test_a_report_that_never_came_is_gathered(backend: Backend, cloud: Cloud) -> None:
    behave(backend.folder, transcribe={"silent": True})
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert cloud.reports == []
    assert isinstance(call.report, StageCompleted)


def test_a_call_under_way_is_running(backend: Backend, cloud: Cloud) -> None:
    behave(backend.folder, diarize={"hang": True})
    call_id = backend.runner.start(request(cloud, stage="diarize", job_id="job_r"))
    assert backend.runner.poll(call_id) == Call(CallState.RUNNING)
    wait_for(lambda: has_started(backend, "job_r"))
    assert backend.runner.poll(call_id) == Call(CallState.RUNNING)
    backend.runner.cancel(call_id)


def test_a_second_start_of_an_attempt_is_the_first(backend: Backend, cloud: Cloud) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: backend.runner.start(request(cloud, job_id="job_twice")), range(8)))
    (call_id,) = ids
    over(backend.runner, call_id)
    assert backend.runner.start(request(cloud, job_id="job_twice")) == call_id
    assert len(starts(backend.folder)) == 1
    other = backend.runner.start(request(cloud, job_id="job_twice", attempt=3))
    assert other != call_id
    over(backend.runner, other)


def test_many_attempts_at_once_are_each_run_once(backend: Backend, cloud: Cloud) -> None:
    wanted = [
        request(cloud, job_id=f"job_{number}", stage=stage)
        for number in range(20)
        for stage in ("transcribe", "diarize")
    ]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(backend.runner.start, wanted))
    assert len(set(ids)) == len(wanted)
    assert {over(backend.runner, call_id).state for call_id in ids} == {CallState.SUCCEEDED}
    ran = sorted((job_id, stage) for _, job_id, stage, _ in starts(backend.folder))
    assert ran == sorted((each.job_id, each.stage) for each in wanted)


def test_a_failure_keeps_its_code(backend: Backend, cloud: Cloud) -> None:
    error = PipelineError("media.corrupt", "It is torn.").info
    behave(backend.folder, transcribe={"fail": error.model_dump()})
    call = over(backend.runner, backend.runner.start(request(cloud)))
    assert call == Call(CallState.FAILED, error)


def test_a_crash_is_told_and_the_next_attempt_runs(backend: Backend, cloud: Cloud) -> None:
    behave(backend.folder, transcribe={"crash": 2})
    crashed = over(backend.runner, backend.runner.start(request(cloud)))
    assert crashed == Call(CallState.FAILED, PipelineError("stage.crashed").info)
    following = over(backend.runner, backend.runner.start(request(cloud, attempt=3)))
    assert following.state is CallState.SUCCEEDED


def test_an_attempt_that_takes_too_long_is_ended(backend: Backend, cloud: Cloud) -> None:
    behave(backend.folder, transcribe={"hang": True})
    call_id = backend.runner.start(backend.shorten(request(cloud)))
    assert over(backend.runner, call_id) == Call(CallState.FAILED, PipelineError("stage.timeout").info)


def test_a_canceled_call_stops_soon_and_the_next_runs(backend: Backend, cloud: Cloud) -> None:
    behave(backend.folder, diarize={"hang": True})
    call_id = backend.runner.start(request(cloud, stage="diarize", job_id="job_c"))
    wait_for(lambda: has_started(backend, "job_c"))
    backend.runner.cancel(call_id)
    call = backend.runner.poll(call_id)
    assert call.state is CallState.FAILED
    assert call.error == PipelineError("stage.lost", "The attempt was canceled.").info
    behave(backend.folder)
    following = backend.runner.start(request(cloud, stage="diarize", attempt=3))
    assert over(backend.runner, following).state is CallState.SUCCEEDED


def test_a_call_that_is_over_or_unknown_can_be_canceled(backend: Backend, cloud: Cloud) -> None:
    call_id = backend.runner.start(request(cloud))
    before = over(backend.runner, call_id)
    backend.runner.cancel(call_id)
    assert backend.runner.poll(call_id) == before
    for unknown in ("fc-unknown", "0123456789abcdef/job/transcribe/1"):
        backend.runner.cancel(unknown)


@pytest.mark.parametrize("call_id", ["fc-unknown", "0123456789abcdef/job/transcribe/1", ""])
def test_an_unknown_call_is_lost(backend: Backend, call_id: str) -> None:
    assert backend.runner.poll(call_id) == Call(CallState.LOST)


def test_where_jobs_wait_for_one_worker_the_highest_priority_is_next(tmp_path: Path, cloud: Cloud) -> None:
    behave(tmp_path, transcribe={"sleep_s": 60.0})
    runner = LocalRunner(tmp_path, tmp_path / "logs", worker=STANDIN)
    first = runner.start(request(cloud, job_id="first"))
    wait_for(lambda: starts(tmp_path))
    behave(tmp_path, transcribe={})
    waiting = [
        runner.start(request(cloud, job_id=job_id, options=JobOptions(priority=priority)))
        for job_id, priority in (("l1", "low"), ("n1", "normal"), ("h1", "high"), ("n2", "normal"), ("h2", "high"))
    ]
    runner.cancel(waiting[3])
    runner.cancel(first)
    for call_id in waiting:
        over(runner, call_id)
    runner.close()
    assert [job_id for _, job_id, _, _ in starts(tmp_path)] == ["first", "h1", "h2", "n1", "l1"]
