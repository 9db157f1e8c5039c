"""No file takes more of the prober than its limits: not time, not memory, not a second try that can only fail again."""

import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psutil
import pytest

from infra.probe import ContentProber
from shared.errors import PipelineError
from tests.hostile import crafted
from tests.hostile.forms import recording
from tests.media import encode, tone, write

SOUND = tone(1.5)
MEMORY_BYTES = 1 << 29
# The real child, which writes down what it looks at; but some names make it do what no test file can make FFmpeg do.
MISCHIEF = """
import infra.probe_child as child, os, signal, time
examine, seen = child.examine, []
def mischief(location, **rest):
    name = os.path.basename(location)
    seen.append(name)
    with open(location + ".tries", "a") as tries:
        tries.write(f"{os.getpid()}\\n")
    if "hang" in name:
        time.sleep(1000)
    if "spin" in name:
        while True: pass
    if "segfault" in name or ("stale" in name and len(seen) > 1):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "sigkill" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "greedy" in name:
        return [bytearray(1 << 26) for _ in range(1 << 10)]
    if "print" in name:
        os.write(1, b"noise of a library\\n")
    return examine(location, **rest)
child.examine = mischief
child.main()
"""
TAGS = 60_000


@contextmanager
def mischievous(**limits: float) -> Iterator[ContentProber]:
    prober = ContentProber(lambda ref: ref.name, command=(sys.executable, "-c", MISCHIEF, str(MEMORY_BYTES)), **limits)
    try:
        yield prober
    finally:
        prober.close()


def refused(prober: ContentProber, path) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        prober.probe_at(str(path))
    assert path.name not in str(caught.value)
    return caught.value


def tries(path) -> list[str]:
    """The process of each try at a file."""
    return path.with_name(f"{path.name}.tries").read_text().split()


@pytest.mark.parametrize(
    ("trick", "is_warm", "timeout_s"), [("hang", True, 2.0), ("spin", True, 2.0), ("hang", False, 4.0)]
)
def test_a_file_that_takes_too_long_is_refused_in_time_and_not_tried_again(tmp_path, trick, is_warm, timeout_s):
    good = write(tmp_path, "wav", SOUND)
    with mischievous(timeout_s=timeout_s) as prober:
        if is_warm:
            prober.probe_at(str(good))
        began = time.monotonic()
        error = refused(prober, tmp_path / trick)
        assert time.monotonic() - began < 2 * timeout_s
        assert (error.code, error.retryable) == ("media.corrupt", False)
        assert len(tries(tmp_path / trick)) == 1
        assert prober.probe_at(str(good)).duration_s == pytest.approx(1.5)


def test_the_limit_of_computing_is_of_one_file_and_not_of_all(tmp_path):
    """A child that has computed for longer than one file may goes on."""
    content = crafted.id3(texts(4000)) + recording("mp3")
    (tmp_path / "many").write_bytes(content)
    with mischievous(cpu_s=1) as prober:
        while (pid := prober.pid) is None or psutil.Process(pid).cpu_times().user < 2.1:
            assert prober.probe_at(str(tmp_path / "many")).container == "mp3"
        assert len({*tries(tmp_path / "many")}) == 1


def names(count: int) -> list[bytes]:
    return [b"k%d=%d" % (index, index) for index in range(count)]


def comments(count: int) -> bytes:
    return struct.pack("<I", count) + b"".join(struct.pack("<I", len(name)) + name for name in names(count))


def texts(count: int) -> bytes:
    return b"".join(crafted.id3_frame(b"TXXX", b"\x03" + name.replace(b"=", b"\0")) for name in names(count))


def flac_of_tags() -> bytes:
    told = crafted.flac_block(4, struct.pack("<I", 0) + comments(TAGS))
    return crafted.flac(16_000, 3, blocks=told + crafted.flac_block(1, bytes(16), is_last=True))


def wav_of_tags() -> bytes:
    wav = recording("wav")
    parts = b"".join(b"%04x" % index + struct.pack("<I", 2) + b"ab" for index in range(TAGS))
    return wav[:12] + b"LIST" + struct.pack("<I", 4 + len(parts)) + b"INFO" + parts + wav[12:]


# One that FFmpeg reads before it adds a tag, and one of which it reads and adds each in turn.
BOMBS: Mapping[str, Callable[[], bytes]] = {"flac": flac_of_tags, "wav": wav_of_tags}


@pytest.mark.parametrize("form", BOMBS)
def test_tags_without_end_cost_one_try_of_seconds(tmp_path, form):
    """FFmpeg searches all tags for each that it adds: this many take it half a minute."""
    path = tmp_path / "tagged"
    path.write_bytes(BOMBS[form]())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with mischievous(cpu_s=1, timeout_s=60.0) as prober:
        error = refused(prober, path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (error.code, error.retryable) == ("media.corrupt", False)
    assert "tags" in error.message
    assert len(tries(path)) == 1
    # To the next whole second, and what a child takes to start.
    assert after.ru_utime - before.ru_utime < 4


@pytest.mark.parametrize("trick", ["segfault", "greedy"])
def test_a_file_that_crashes_or_starves_its_reader_is_refused(tmp_path, trick):
    good = write(tmp_path, "wav", SOUND)
    with mischievous() as prober:
        before = psutil.Process().memory_info().rss
        assert refused(prober, tmp_path / trick).code == "media.corrupt"
        assert psutil.Process().memory_info().rss - before < 100 << 20
        assert prober.probe_at(str(good)).duration_s == pytest.approx(1.5)
    # Once more in another process: what killed the first need not have been this file.
    assert len({*tries(tmp_path / trick)}) == 2


def test_a_file_is_not_refused_because_someone_kills_its_reader(tmp_path):
    with mischievous() as prober:
        error = refused(prober, tmp_path / "sigkill")
    assert (error.code, error.retryable) == ("service.unavailable", True)
    assert len({*tries(tmp_path / "sigkill")}) == 2


def test_a_child_that_dies_of_what_came_before_is_not_the_files_fault(tmp_path):
    good, stale = write(tmp_path, "wav", SOUND), tmp_path / "stale"
    stale.write_bytes(good.read_bytes())
    with mischievous() as prober:
        prober.probe_at(str(good))
        assert prober.probe_at(str(stale)).container == "wav"
    assert len({*tries(stale)}) == 2


def test_what_a_library_prints_is_no_answer(tmp_path):
    path = tmp_path / "print.wav"
    path.write_bytes(encode("wav", SOUND))
    with mischievous() as prober:
        assert [prober.probe_at(str(path)).container for _ in range(3)] == ["wav"] * 3


def test_the_child_dies_with_its_parent_in_the_middle_of_a_probe(tmp_path):
    code = f"""
import sys, threading
from infra.probe import ContentProber
prober = ContentProber(lambda ref: ref.name, command=(sys.executable, "-c", {MISCHIEF!r}, "{MEMORY_BYTES}"))
prober.probe_at({str(write(tmp_path, "wav", SOUND))!r})
print(prober.pid, flush=True)
prober.probe_at({str(tmp_path / "spin")!r})
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(10)
