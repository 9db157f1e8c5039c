"""Which services a process gets from its settings, and what it says when one is missing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra import wiring
from infra.report_tokens import ReportTokens
from infra.settings import load_settings
from infra.wiring import GoogleServices
from shared.errors import PipelineError


@pytest.fixture(autouse=True)
def _nothing_installed() -> Iterator[None]:
    wiring.install(None)
    yield
    wiring.install(None)


def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(PipelineError) as refused:
        call()
    return refused.value.code, refused.value.message


def test_the_local_cloud_must_have_been_started() -> None:
    assert refusal(wiring.services)[0] == "internal"


def test_a_real_cloud_is_built_once_and_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_CLOUD", "google")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: wiring.services(), range(8)))
    assert len(found) == 1 and isinstance(found.pop(), GoogleServices)


@pytest.mark.parametrize(
    ("service", "given", "variable"),
    [
        ("jobs", {}, "EARWITNESS_PROJECT"),
        ("events", {}, "EARWITNESS_PROJECT"),
        ("objects", {}, "EARWITNESS_PROJECT"),
        ("report_tokens", {}, "EARWITNESS_REPORT_KEYS"),
        ("callers", {}, "EARWITNESS_AUDIENCE"),
        ("callers", {"audience": "https://function.example"}, "EARWITNESS_CALLERS"),
    ],
)
def test_a_service_names_the_setting_that_it_lacks(service: str, given: dict[str, str], variable: str) -> None:
    services = GoogleServices(load_settings(cloud="google", **given))
    code, message = refusal(lambda: getattr(services, service))
    assert code == "internal" and variable in message


def test_callers_are_checked_unless_the_platform_does() -> None:
    strict = GoogleServices(load_settings(cloud="google", audience="https://f.example", callers="a@x, b@x"))
    assert strict.settings.callers == ("a@x", "b@x")
    assert refusal(lambda: strict.callers.check(None))[0] == "request.unauthorized"
    GoogleServices(load_settings(cloud="google", authenticate="platform")).callers.check(None)


@pytest.mark.parametrize("value", ["short", f"{'k' * 32},short", "k" * 31])
def test_a_report_key_that_is_too_short_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_REPORT_KEYS", value)
    code, message = refusal(load_settings)
    assert code == "request.invalid" and "EARWITNESS_REPORT_KEYS" in message and value not in message


def test_a_report_key_can_be_replaced_while_jobs_run() -> None:
    old, new = "o" * 32, "n" * 32
    token = GoogleServices(load_settings(report_keys=old)).report_tokens.sign("job", "transcribe", 1)
    both = GoogleServices(load_settings(report_keys=f"{new},{old}")).report_tokens
    both.check(token, "job", "transcribe", 1)
    ReportTokens(new.encode()).check(both.sign("job", "transcribe", 1), "job", "transcribe", 1)
    assert refusal(lambda: ReportTokens(new.encode()).check(token, "job", "transcribe", 1))[0] == "request.unauthorized"


@pytest.mark.parametrize(
    ("public_url", "report_url", "expected"),
    [
        ("http://here:1/", "", "http://here:1/functions/on_report"),
        ("http://here:1", "https://report.example/", "https://report.example"),
    ],
)
def test_where_reports_go(public_url: str, report_url: str, expected: str) -> None:
    assert load_settings(public_url=public_url, report_url=report_url).report_base_url == expected


def test_where_reports_go_must_be_known() -> None:
    assert refusal(lambda: load_settings().report_base_url) == (
        "internal",
        "EARWITNESS_REPORT_URL is not set, and is needed here.",
    )
