"""Fixtures of all tests, and a summary of what each adapter promised and kept."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from shared.weights import DEFAULT_MODELS
from tests.emulators import Emulator, firestore_emulator, gcs_emulator, pubsub_emulator
from tests.model_files import pulled

# Ids of the parameters that say which adapter a contract test ran against.
ADAPTERS = ("local", "google-live", "google", "modal-live", "modal", "aws")
_TOLD = "told"
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
_CONTRACT = re.compile(
    rf"tests/contract/test_(?P<port>\w+)\.py::[^\[]+\[(?:.*-)?(?P<adapter>{'|'.join(ADAPTERS)})(?:-.*)?\]"
)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where model files are cached, as for every command."""
    return Settings().models_dir


@pytest.fixture(scope="session")
def models(models_dir: Path) -> Path:
    """That folder, with the default models in it."""
    for alias in DEFAULT_MODELS.values():
        pulled(alias, models_dir)
    return models_dir


@pytest.fixture(scope="session")
def firestore() -> Iterator[Emulator]:
    """The emulator of Firestore, without security rules. Each test takes a project of its own."""
    with firestore_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def pubsub() -> Iterator[Emulator]:
    """The emulator of Pub/Sub. Each test takes a project of its own."""
    with pubsub_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def gcs() -> Iterator[Emulator]:
    """fake-gcs-server, which notifies nobody. Each test takes a bucket of its own."""
    with gcs_emulator() as emulator:
        yield emulator


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that was measured, in the summary at the end: whichever process the test ran in."""
    return lambda line: record_property(_TOLD, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, and how the contract tests of each port ended for each adapter."""
    _summarise_measurements(terminalreporter)
    _summarise_contracts(terminalreporter)


def _summarise_measurements(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        (*report.nodeid.removesuffix("]").partition("[")[::2], str(line))
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, line in report.user_properties
        if name == _TOLD
    ]
    if not told:
        return
    terminalreporter.section("measured")
    last = ""
    for test, case, line in sorted(told, key=lambda row: row[0]):
        if test != last:
            terminalreporter.line(test)
        terminalreporter.line(f"  {case}: {line}" if case else f"  {line}")
        last = test


def _summarise_contracts(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            if found := _CONTRACT.match(report.nodeid):
                counts.setdefault((found["port"], found["adapter"]), Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("contracts by adapter")
    for (port, adapter), outcomes in sorted(counts.items()):
        told = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in OUTCOMES if outcomes[outcome])
        terminalreporter.line(f"{port:20} {adapter:12} {told}")
