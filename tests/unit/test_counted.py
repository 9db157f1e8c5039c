"""Lines that are counted: what the code writes, and that each metric of a deployment counts lines that it writes."""

import io
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import functions_framework.aio
import hcl2
import pytest
import typer
from starlette.testclient import TestClient

from infra import wiring
from infra.api.app import create_app
from infra.cli.commands import app
from infra.observability import counted
from infra.observability.counted import tell
from infra.observability.logs import JsonLines, install_logs
from infra.pipeline.control import cancel_job
from infra.pipeline.dispatch import apply_fact, dispatch_due
from infra.pipeline.intake import create_job, receive_upload
from infra.pipeline.outbox import _ENDINGS
from infra.pipeline.sweep import Swept, sweep
from infra.settings import Settings
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.events import FACTS, Metrics, StageCompleted, StageFailed
from shared.jobs import Job, JobState
from shared.media import ObjectRef
from shared.options import JobOptions
from shared.ports import Call, CallState
from tests.services import CALLER

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "terraform" / "modules" / "observability"
WORDS = b'{"language": "en", "duration_s": 2.0, "segments": [], "model": "x"}'

Lines = list[dict[str, Any]]


@contextmanager
def written() -> Iterator[Lines]:
    """The counted lines, as a function writes them for Cloud Logging; filled in at the end."""
    stream, lines = io.StringIO(), []
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("p"))
    level = counted.log.level
    counted.log.addHandler(handler)
    counted.log.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        counted.log.removeHandler(handler)
        counted.log.setLevel(level)
        lines.extend(json.loads(line) for line in stream.getvalue().splitlines())


def of(lines: Lines, what: str, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(field) for field in fields) for line in lines if line["what"] == what]


def created(services: GivenServices, **about: Any) -> Job:
    about = {"options": JobOptions(diarize=False), "reuse": False, **about}
    return create_job(services, tenant_id="t", filename="", content_type="", **about).job


def sent(services: GivenServices, job: Job) -> Job:
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{job.job_id}/media")
    receive_upload(services, services.objects.write(ref, b"RIFF", content_type=""))
    return services.jobs.get(job.job_id)


def dispatched(services: GivenServices) -> Job:
    job = sent(services, created(services))
    dispatch_due(services, job.job_id)
    return services.jobs.get(job.job_id)


def completes(services: GivenServices) -> str:
    job = dispatched(services)
    ref = ObjectRef(bucket=services.settings.results_bucket, name=f"t/{job.job_id}/words.json")
    services.objects.write(ref, WORDS, content_type="application/json")
    report = StageCompleted(stage="transcribe", attempt=1, metrics=Metrics(audio_s=2.0))
    services.runner.calls[f"{job.job_id}/transcribe/1"] = Call(CallState.SUCCEEDED, report=report)
    sweep(services)
    return job.job_id


def fails(services: GivenServices) -> str:
    job = dispatched(services)
    apply_fact(
        services, job.job_id, StageFailed(stage="transcribe", attempt=1, error=PipelineError("media.corrupt").info)
    )
    return job.job_id


def is_rejected(services: GivenServices) -> str:
    def refuse(_: object) -> None:
        raise PipelineError("media.unsupported")

    services.prober.probe = refuse
    job = sent(services, created(services))
    del services.prober.probe
    return job.job_id


def is_canceled(services: GivenServices) -> str:
    job = created(services)
    cancel_job(services, job.job_id)
    return job.job_id


def expires(services: GivenServices) -> str:
    job = created(services)
    services.clock.pass_by(hours=3)
    sweep(services)
    return job.job_id


ENDINGS: Sequence[tuple[Callable[[GivenServices], str], str, str | None]] = [
    (completes, "completed", None),
    (is_rejected, "rejected", "media.unsupported"),
    (fails, "failed", "media.corrupt"),
    (is_canceled, "canceled", None),
    (expires, "expired", None),
]


@pytest.mark.parametrize(("ends", "state", "code"), ENDINGS, ids=[state for _, state, _ in ENDINGS])
def test_a_job_that_ended_is_told_once_with_its_state_and_code(
    services: GivenServices, ends: Callable[[GivenServices], str], state: str, code: str | None
) -> None:
    with written() as lines:
        job_id = ends(services)
        sweep(services)
    assert services.jobs.get(job_id).state == state
    assert of(lines, "job.ended", "state", "code", "job_id", "tenant_id") == [(state, code, job_id, "t")]


def test_every_state_that_a_job_ends_in_is_told() -> None:
    assert set(_ENDINGS.values()) == {state for state in JobState if state.is_terminal and not state.is_gone}
    assert all(FACTS[name].published for name in _ENDINGS)


def test_an_ending_that_could_not_be_published_is_told_with_its_event(
    services: GivenServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PipelineError("service.unavailable")

    job = created(services)
    with written() as lines, monkeypatch.context() as patched:
        patched.setattr(services.events, "publish", refuse)
        with pytest.raises(PipelineError):
            cancel_job(services, job.job_id)
    assert of(lines, "job.ended", "state") == []
    with written() as lines:
        sweep(services)
    assert of(lines, "job.ended", "state") == [("canceled",)]


def test_a_sweep_tells_all_its_counts_those_that_are_nothing_too(services: GivenServices) -> None:
    with written() as lines:
        sweep(services)
    (line,) = lines
    assert line["what"] == "sweep.completed" and line["severity"] == "INFO"
    assert {name: line[name] for name in Swept.__dataclass_fields__} == {**vars(Swept())}


def test_a_sweep_that_broke_off_is_not_told_as_completed(
    services: GivenServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PipelineError("service.unavailable")

    monkeypatch.setattr(services.jobs, "list", broken)
    with written() as lines, pytest.raises(PipelineError):
        sweep(services)
    assert of(lines, "sweep.completed") == []


def is_unnoticed(services: GivenServices) -> Job:
    job = created(services)
    ref = ObjectRef(bucket=services.settings.uploads_bucket, name=f"t/{job.job_id}/media")
    services.objects.write(ref, b"RIFF", content_type="")
    services.clock.pass_by(hours=1)
    return job


def was_probed_in_vain(services: GivenServices) -> Job:
    services.prober.broken = True
    job = created(services)
    with pytest.raises(PipelineError):
        sent(services, job)
    services.prober.broken = False
    services.clock.pass_by(hours=1)
    return job


def is_overdue(services: GivenServices) -> Job:
    job = created(services, deadline_s=60.0)
    services.clock.pass_by(seconds=61)
    return job


def vanished(services: GivenServices) -> Job:
    job = dispatched(services)
    services.runner.calls.clear()
    return job


def cannot_be_probed(services: GivenServices) -> Job:
    job = was_probed_in_vain(services)
    services.prober.broken = True
    return job


STUCK: Sequence[tuple[Callable[[GivenServices], Job], str, str | None]] = [
    (is_unnoticed, "upload_unnoticed", None),
    (was_probed_in_vain, "upload_unnoticed", None),
    (is_overdue, "overdue", None),
    (vanished, "attempt_silent", "stage.lost"),
    (cannot_be_probed, "unserved", "service.unavailable"),
]


@pytest.mark.parametrize(("gets_stuck", "why", "code"), STUCK, ids=[case.__name__ for case, _, _ in STUCK])
def test_a_job_that_was_stuck_is_told_with_why(
    services: GivenServices, gets_stuck: Callable[[GivenServices], Job], why: str, code: str | None
) -> None:
    job = gets_stuck(services)
    with written() as lines:
        sweep(services)
    assert of(lines, "job.stuck", "why", "code", "job_id", "tenant_id") == [(why, code, job.job_id, "t")]
    assert of(lines, "sweep.completed", "unserved") == [(int(why == "unserved"),)]


def test_a_runner_that_is_away_is_told_with_the_sweep(services: GivenServices) -> None:
    dispatched(services)
    services.runner.down = True
    with written() as lines:
        sweep(services)
    assert of(lines, "sweep.completed", "runner_is_away") == [(True,)]
    assert of(lines, "job.stuck") == []  # the job waits for the runner, and goes on by itself


def test_the_function_says_why_a_sweep_broke_off_and_counts_none(
    services: GivenServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wiring.install(services)
    try:
        source = str(ROOT / "functions" / "sweep" / "main.py")
        client = TestClient(functions_framework.aio.create_asgi_app(target="sweep", source=source))
        client.headers["authorization"] = CALLER
        with written() as lines:
            assert client.post("/").json()["unserved"] == 0
        assert len(lines) == 1

        def away(*_: object, **__: object) -> None:
            raise PipelineError("service.unavailable", "The store is away.")

        monkeypatch.setattr(services.jobs, "list", away)
        with written() as lines:
            assert client.post("/").status_code == 503
    finally:
        wiring.install(None)
    assert lines == []
    assert "the sweep broke off: service.unavailable: The store is away." in caplog.messages


@pytest.mark.parametrize(("log_format", "count"), [("json", 1), ("text", 0)])
def test_only_where_lines_are_for_machines_are_they_written(
    log_format: Any, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    root, level = logging.getLogger(), counted.log.level
    before = root.handlers[:], root.level
    try:
        install_logs(Settings(log_format=log_format))
        tell("sweep.completed", published=0, code="", reason=None)
    finally:
        root.handlers[:], root.level = before
        counted.log.setLevel(level)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == count
    for line in lines:
        found = json.loads(line)
        assert found["message"] == "sweep.completed, published 0" and found["published"] == 0
        assert not {"code", "reason"} & found.keys()


@pytest.fixture(scope="module")
def metrics() -> Mapping[str, Mapping[str, Any]]:
    """The log-based metrics that Terraform makes, by name."""
    with (MODULE / "main.tf").open() as file:
        resources = hcl2.load(file)["resource"]
    found = {
        name.strip('"'): body for kind in resources for name, body in kind.get('"google_logging_metric"', {}).items()
    }
    assert len(found) == 5
    return found


@pytest.fixture
def all_lines(services: GivenServices) -> Lines:
    """What the code writes of everything that can happen."""
    found: Lines = []
    for happens in [*(ends for ends, _, _ in ENDINGS), *(gets_stuck for gets_stuck, _, _ in STUCK), _loses_its_runner]:
        with written() as lines:
            happens(services)
            sweep(services)
        found += lines
        services.prober.broken = services.runner.down = False
    return found


def _loses_its_runner(services: GivenServices) -> None:
    dispatched(services)
    services.runner.down = True


def matching(lines: Lines, condition: str) -> Lines:
    """The lines that a filter's conditions on ``jsonPayload`` choose, which are joined by ``AND`` alone."""
    compared = re.findall(r"jsonPayload\.(\w+)=(?:\"([^\"]*)\"|(\w+))", condition)
    assert len(compared) == condition.count("jsonPayload."), f"this test cannot read {condition}"
    return [
        line
        for line in lines
        if all(line.get(name) == (text if text else json.loads(word)) for name, text, word in compared)
    ]


def test_every_metric_counts_lines_that_the_code_writes(
    metrics: Mapping[str, Mapping[str, Any]], all_lines: Lines
) -> None:
    chosen = {}
    for name, metric in metrics.items():
        condition = metric["filter"].replace('\\"', '"')
        if "jsonPayload" not in condition:
            continue
        chosen[name] = matching(all_lines, condition)
        for extractor in metric.get("label_extractors", {}).values():
            (field,) = re.findall(r"EXTRACT\(jsonPayload\.(\w+)\)", extractor)
            assert any(field in line for line in chosen[name]), f"{name} extracts {field}, which no line has"
    assert {name: bool(found) for name, found in chosen.items()} == dict.fromkeys(
        ("jobs_ended", "jobs_stuck", "sweeps", "runner_away"), True
    )
    assert 0 < len(chosen["runner_away"]) < len(chosen["sweeps"])
    assert sum(len(chosen[name]) for name in ("jobs_ended", "jobs_stuck", "sweeps")) == len(all_lines)


def test_every_value_that_an_alert_or_a_label_names_is_written(all_lines: Lines) -> None:
    text = "".join(path.read_text() for path in MODULE.glob("*.tf"))
    states = {state for state in JobState if state.is_terminal and not state.is_gone}
    assert {line["state"] for line in all_lines if "state" in line} == states
    assert all(str(state) in text for state in states)
    for field in ("state", "why"):
        names = {
            name
            for names in re.findall(rf'\b{field}(?:=~?|!=)\\?"([\w|]+)\\?"', text.replace('\\"', '"'))
            for name in names.split("|")
        }
        assert names and names <= {line[field] for line in all_lines if field in line}
    reasons = {line["why"] for line in all_lines if "why" in line}
    assert {name for name in reasons if f"`{name}`" in text or f'"{name}"' in text.replace('\\"', '"')} == reasons


def test_what_an_alert_says_to_run_can_be_run(all_lines: Lines) -> None:
    text = (MODULE / "alerts.tf").read_text()
    run = [command.replace("${local.on_project}", "earwitness") for command in re.findall(r"`([^`]+)`", text)]
    ours = {tuple(shlex.split(command)[1:]) for command in run if command.startswith("earwitness ")}
    assert {words[0] for words in ours} == {"dead-letters", "retry", "cancel", "gpu"}
    for words in ours:
        command: Any = typer.main.get_command(app)
        for word in words:
            if not hasattr(command, "commands"):
                assert word == "JOB_ID" and next(each.name for each in command.params) == "job_id"
                continue
            command = command.commands[word]
        assert not hasattr(command, "commands"), words
    for command in run:
        assert command.startswith(("earwitness ", "gcloud ")) or " " not in command, command
        if "gcloud logging read" in command and "jsonPayload.what" in command:
            assert matching(all_lines, shlex.split(command)[3]), command


def test_what_is_left_out_of_the_apis_latency_is_what_waits_for_jobs(
    metrics: Mapping[str, Mapping[str, Any]],
) -> None:
    (pattern,) = re.findall(r'requestUrl=~"([^"]+)"', metrics["api_seconds"]["filter"].replace('\\"', '"'))
    paths = create_app().openapi()["paths"]
    left_out = {path for path in paths if re.search(pattern, f"https://x{path}")}
    assert left_out == {"/v1/jobs/{job_id}/events", "/v1/audio/transcriptions"}
    waiting = {
        path
        for path, ways in paths.items()
        for way in ways.values()
        if any(parameter["name"] == "wait_s" for parameter in way.get("parameters", ()))
    }
    assert waiting == {"/v1/jobs/{job_id}"} and re.search(pattern, "https://x/v1/jobs/job_1?wait_s=20")
    assert not re.search(pattern, "https://x/v1/jobs/job_1")
