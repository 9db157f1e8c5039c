"""A thousand hostile files and more: each gets its verdict in time, in memory, and nothing else happens."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest

from infra.probe import MEMORY_BYTES
from tests.hostile.conftest import SCALE, SEED
from tests.hostile.corpus import corpus, digest
from tests.hostile.hostile import ACCEPTED, Bait, Hostile
from tests.hostile.passing import Passed, run
from tests.hostile.watching import Baited

KINDS = {
    *("empty", "noise", "noise after a signature", "cut", "bits flipped", "torn", "box sizes", "box counts"),
    *("index bombs", "part sizes", "element sizes", "lengths", "rates", "channels", "depths", "silence"),
    *("metadata", "inflated", "polyglots", "playlists", "references"),
}
INVARIANTS = ("outcome", "code", "sentence", "time", "memory", "crash", "bait", "written")
TOTAL_S = 120.0
_CHILD = "import infra.probe_child as child\n{}\nchild.main()"
_OPENED_WITH = (
    "import av\nopened = av.open\nchild.identify = lambda head: ''\n"
    "av.open = lambda file, mode, **rest: opened(file, mode, **{{**rest, 'options': {}}})"
)
# Each guard of the prober taken away, the files that it is for, and what then goes wrong.
GUARDS = {
    "memory": ("child.confine = lambda _: None", "index bombs: 20000000 samples", "memory"),
    "sizes": ("child.check_whole = lambda *_: False", "cut: wav at", "outcome"),
    "foreign files": ("child.identify = lambda head: ''", "polyglots: pdf before", "outcome"),
    "damage": ("child._DAMAGE = ()", "box sizes: m4a_faststart moov", "crash"),
    "rates": ("child._RATES_HZ = range(2**40)", "rates: flac 2", "outcome"),
    "channels": ("child._CHANNELS = range(2**40)", "channels: wav 17", "outcome"),
    "formats": (_OPENED_WITH.format("{}"), "playlists: pls to", "outcome"),
    "protocols": (_OPENED_WITH.format("{'safe': '0'}"), "playlists: concat to http", "bait"),
}


def test_there_are_a_thousand_files_of_every_kind(passed: Passed, tell: Callable[[str], None]) -> None:
    tell(f"seed {SEED}, scale {SCALE}")
    for row in passed.table():
        tell(row)
    assert len({(verdict.kind, verdict.name) for verdict in passed.verdicts}) == len(passed.verdicts) >= 1000
    assert {verdict.kind for verdict in passed.verdicts} == KINDS


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_no_file_breaks(passed: Passed, invariant: str) -> None:
    assert passed.faults()[invariant] == []


def test_the_corpus_is_neither_all_refused_nor_all_accepted(passed: Passed) -> None:
    outcomes = [verdict.outcome for verdict in passed.verdicts]
    assert 0.1 < outcomes.count(ACCEPTED) / len(outcomes) < 0.6
    assert {"media.corrupt", "media.unsupported", "media.no_audio", "media.zero_length", "media.too_long"} < {*outcomes}


def test_silence_for_days_is_found_by_decoding(passed: Passed) -> None:
    bombs = {verdict.name: verdict.decoded for verdict in passed.verdicts if verdict.kind == "silence"}
    assert bombs["flac 11 h, untold"] == bombs["flac 11 h, told as 4 s"] == "media.too_long"
    assert bombs["opus 1200 pages, told as nothing" if SCALE == 1 else "opus 120 pages, told"] == "media.too_long"


def test_it_is_over_in_time(passed: Passed) -> None:
    assert passed.took_s < TOTAL_S * SCALE


def test_one_seed_gives_one_corpus(files: Sequence[Hostile], baited: Baited) -> None:
    code = f"from tests.hostile.corpus import *; print(digest(corpus({SEED}, {baited.bait!r}, scale={SCALE})))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(files)
    assert digest(islice(corpus(SEED, Bait("", "")), 50)) != digest(islice(corpus(SEED + 1, Bait("", "")), 50))


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_of_the_prober_that_is_gone_is_missed(
    files: Sequence[Hostile], baited: Baited, passed: Passed, tmp_path: Path, guard: str
) -> None:
    """What shows that the invariants can break: they do, without the guard, and do not with it."""
    mutation, names, broken = GUARDS[guard]
    # A bound that the bomb exceeds without filling this machine.
    memory_bytes = MEMORY_BYTES // 3 if guard == "memory" else MEMORY_BYTES
    command = (sys.executable, "-c", _CHILD.format(mutation), str(memory_bytes))
    meant = [file for file in files if f"{file.kind}: {file.name}".startswith(names)]
    guarded = passed if memory_bytes == MEMORY_BYTES else run(meant, tmp_path, baited, memory_bytes=memory_bytes)
    assert not any(guarded.faults().values())
    bare = run(meant, tmp_path, baited, prober=command, memory_bytes=memory_bytes)
    assert bare.faults()[broken]
