"""Log lines, and what is told of a defect."""

import gzip
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from infra.observability.context import concerning, current_traceparent, ids, is_traceparent, note
from infra.observability.logs import JsonLines

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def line(message: str, *values: object, error: Exception | None = None, project: str = "") -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("infra.x", logging.WARNING, "x.py", 1, message, values, info)
    text = JsonLines(project).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_is_what_cloud_logging_takes_apart() -> None:
    with concerning(request_id="req_1", traceparent=CALLER):
        note(job_id="job_1", tenant_id="t")
        found = line("%s broke", "ä", project="p")
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "severity": "WARNING",
        "message": "ä broke",
        "logger": "infra.x",
        "request_id": "req_1",
        "job_id": "job_1",
        "tenant_id": "t",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "logging.googleapis.com/trace": "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736",
        "logging.googleapis.com/spanId": "00f067aa0ba902b7",
        "logging.googleapis.com/trace_sampled": True,
    }
    assert ids() == {}


def test_a_traceback_is_part_of_the_message() -> None:
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError as error:
        message = line("broke", error=error)["message"]
    assert message.startswith("broke\nTraceback (most recent call last)") and "ZeroDivisionError: x" in message


def test_what_is_inside_says_more_and_outside_it_is_forgotten() -> None:
    with concerning(job_id="a"):
        with concerning(job_id="b", tenant_id="", request_id="r"):
            assert ids() == {"job_id": "b", "request_id": "r"}
        assert ids() == {"job_id": "a"}
    assert current_traceparent() == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        CALLER.upper(),
        CALLER + "0",
        f"ff{CALLER[2:]}",
        CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        CALLER + "\n",
    ],
)
def test_only_what_the_standard_knows_is_a_trace(text: str) -> None:
    assert is_traceparent(CALLER)
    assert not is_traceparent(text)


@pytest.fixture
def sentry() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps the events that it is sent."""
    events: list[dict[str, Any]] = []

    class Keeping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            lines = (gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body).splitlines()
            events.extend(found for text in lines[1:] if "level" in (found := json.loads(text)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Keeping)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://key@127.0.0.1:{server.server_port}/1", events
    server.shutdown()
    server.server_close()


_DEFECT = """
import logging, sentry_sdk
from infra.observability import observe
from infra.observability.context import concerning
from infra.settings import Settings
observe(Settings())
log = logging.getLogger("infra.x")
log.warning("no defect")
password = "secret of ours"
with concerning(job_id="job_1", tenant_id="t", traceparent="00-x"):
    try:
        {}[password]
    except KeyError:
        log.exception("%s broke", "GET /v1/jobs")
sentry_sdk.flush(5)
"""


def test_a_defect_is_told_to_sentry_with_its_ids_and_nothing_secret(sentry: tuple[str, list[dict[str, Any]]]) -> None:
    dsn, events = sentry
    environment = {"EARWITNESS_SENTRY_DSN": dsn, "PATH": "", "NO_PROXY": "127.0.0.1"}
    subprocess.run([sys.executable, "-c", _DEFECT], env=environment, check=True, timeout=60)
    (event,) = events
    assert event["tags"] == {"job_id": "job_1", "tenant_id": "t"}
    assert event["exception"]["values"][0]["type"] == "KeyError"
    assert not {"request", "user", "extra", "breadcrumbs", "modules", "server_name"} & event.keys()
    assert "vars" not in json.dumps(event["exception"])
