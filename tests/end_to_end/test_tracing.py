"""One trace from the request that makes a job to the event that says it is completed."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra.local.cloud import LocalCloud
from infra.observability.logs import JsonLines
from infra.observability.tracing import trace_with
from shared.errors import PipelineError
from tests.clouds import Phone, standin_cloud, wait_for
from tests.media import encode, tone

WAV = encode("wav", tone(1.0))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_with(provider)
    yield exporter
    trace_with(None)
    provider.shutdown()


def completed(cloud: LocalCloud, **headers: str) -> str:
    phone = Phone(cloud.url, cloud.owner_token)
    created = phone.client.post("/v1/jobs", json={}, headers=headers).json()
    phone.put(created["upload"], WAV)
    job_id = created["job"]["job_id"]
    phone.wait(job_id)
    wait_for(lambda: cloud.queue.depth() == 0 and not cloud.jobs.unpublished())
    return job_id


def test_one_trace_leads_from_the_request_to_the_last_event(cloud: LocalCloud, spans: InMemorySpanExporter) -> None:
    job_id = completed(cloud, traceparent=CALLER)
    events = cloud.jobs.history(job_id)
    assert [event.type for event in events][-1] == "job.completed"
    assert {event.traceparent.split("-")[1] for event in events} == {TRACE}
    of_job = [span for span in spans.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
    by_name = {span.name: span for span in of_job}
    post = by_name["POST /v1/jobs"]
    assert f"{post.parent.span_id:016x}" == CALLER.split("-")[2]
    assert post.attributes["http.response.status_code"] == 201
    assert {"validate", "orchestrate media.validated", "orchestrate stage.completed"} <= by_name.keys()
    assert by_name["orchestrate media.validated"].parent.span_id == post.context.span_id
    assert by_name["validate"].attributes["earwitness.job_id"] == job_id


def test_without_a_trace_of_the_caller_a_job_has_its_own_and_nothing_is_recorded(cloud: LocalCloud) -> None:
    first, second = completed(cloud), completed(cloud, traceparent="00-junk")
    traces = [{event.traceparent.split("-")[1] for event in cloud.jobs.history(job)} for job in (first, second)]
    assert [len(found) for found in traces] == [1, 1] and traces[0] != traces[1]


def test_log_lines_of_a_job_say_which_and_of_which_trace(cloud: LocalCloud) -> None:
    lines: list[dict[str, object]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    def unreachable(_request: object) -> str:
        raise PipelineError("service.unavailable")

    handler = Kept()
    handler.setFormatter(JsonLines("p"))
    logger = logging.getLogger("infra.pipeline")
    logger.addHandler(handler)
    try:
        phone = Phone(cloud.url, cloud.owner_token)
        headers = {"traceparent": CALLER}
        created = phone.client.post("/v1/jobs", json={}, headers=headers).json()
        cloud.runner.start = unreachable  # type: ignore[method-assign]
        phone.put(created["upload"], WAV)
        found = wait_for(lambda: [line for line in lines if line.get("job_id") == created["job"]["job_id"]])
    finally:
        logger.removeHandler(handler)
        del cloud.runner.start
    assert found[0]["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert found[0]["tenant_id"] == "default"


@pytest.mark.parametrize(("variables", "is_loaded"), [({}, False), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True)])
def test_the_sdk_is_loaded_only_where_an_exporter_is_configured(variables: dict[str, str], is_loaded: bool) -> None:
    code = (
        "import sys; from infra.observability import observe; from infra.settings import Settings;"
        "observe(Settings()); print('opentelemetry.sdk.trace' in sys.modules, 'sentry_sdk' in sys.modules)"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **variables}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(is_loaded), "False"]
