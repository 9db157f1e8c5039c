"""Every accepted form is recognised, every other file refused by its code, and no file does harm.

One file: one prober, one table of verdicts.
"""

import http.server
import os
import re
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest

from infra.probe import ContentProber
from shared.errors import PipelineError
from shared.media import Probe
from tests.hostile.crafted import wav
from tests.media import FORMS, REJECTS, cut, encode, flip, mutations, tone, write

SOUND = tone(1.5)


@pytest.fixture(scope="module")
def prober():
    prober = ContentProber(lambda ref: ref.name, timeout_s=20.0, probes_per_child=100_000)
    prober.start()
    yield prober
    prober.close()


def refused(prober, path):
    with pytest.raises(PipelineError) as caught:
        prober.probe_at(str(path))
    assert str(path) not in str(caught.value) + repr(caught.value.details)
    assert path.name not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("duration_s", [0.05, 0.3, 1.5])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_recognised(prober, tmp_path, form, duration_s):
    described = FORMS[form]
    probe = prober.probe_at(str(write(tmp_path, form, tone(duration_s))))
    assert probe == Probe(
        container=described.container,
        audio_codec=described.codec,
        duration_s=probe.duration_s,
        sample_rate_hz=described.rate_hz,
        channels=described.channels,
        has_video=described.has_video,
    )
    if described.says_duration:
        # Codecs pad to whole frames: never shorter, and by less than a few of them longer.
        assert duration_s - 0.001 <= probe.duration_s <= duration_s + 0.12
    else:
        assert probe.duration_s is None


@pytest.mark.parametrize("form", FORMS)
def test_the_name_of_a_file_says_nothing(prober, tmp_path, form):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(encode(form, SOUND))
    assert prober.probe_at(str(path)).audio_codec == FORMS[form].codec


@pytest.mark.parametrize("form", [form for form, described in FORMS.items() if described.is_streamable])
def test_a_stream_that_broke_off_is_still_a_recording(prober, tmp_path, form):
    path = tmp_path / "cut"
    path.write_bytes(cut(encode(form, tone(4.0)), 0.6))
    probe = prober.probe_at(str(path))
    assert probe.audio_codec == FORMS[form].codec
    # A length that is told must be that of what is there.
    assert probe.duration_s is None or 1.5 < probe.duration_s < 2.9


@pytest.mark.parametrize("name", REJECTS)
def test_every_other_file_is_refused_by_its_code(prober, tmp_path, name):
    path = tmp_path / "upload-of-someone"
    path.write_bytes(REJECTS[name].make(SOUND))
    error = refused(prober, path)
    assert error.code == REJECTS[name].code
    assert not error.retryable
    # One or two plain sentences for the person who uploaded.
    assert re.fullmatch(r"[A-Z][^_/\\]+\.", error.message)


@pytest.mark.parametrize("form", ["wav", "aiff", "avi", "webm", "flac", "mp4"])
def test_a_few_lost_bytes_at_the_end_are_forgiven(prober, tmp_path, form):
    path = tmp_path / "short"
    # The index of an MP4 is last unless it was moved; then what is last is sound.
    content = encode("m4a_faststart" if form == "mp4" else form, SOUND)
    path.write_bytes(content[:-20])
    assert prober.probe_at(str(path)).channels == 1


def test_a_preallocated_tail_of_a_long_recording_is_found_without_decoding_it_all(prober, tmp_path):
    content = encode("flac", tone(120.0))
    path = tmp_path / "zeroed"
    path.write_bytes(cut(content, 0.7) + bytes(len(content) * 3 // 10))
    assert refused(prober, path).code == "media.corrupt"


@pytest.mark.parametrize(("rate_hz", "channels"), [(1000, 1), (8000, 2), (768_000, 1), (16_000, 16)])
def test_unusual_sound_that_can_be_mixed_is_accepted(prober, tmp_path, rate_hz, channels):
    path = tmp_path / "unusual"
    path.write_bytes(wav(rate_hz, channels, bytes(2 * channels * rate_hz)))
    probe = prober.probe_at(str(path))
    assert (probe.sample_rate_hz, probe.channels, probe.duration_s) == (rate_hz, channels, 1.0)


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(1, 1), (999, 1), (768_001, 1), (2**31 - 1, 1), (16_000, 17), (16_000, 64), (48_000, 512)]
)
def test_sound_that_no_stage_could_mix_is_refused_before_one_tries(prober, tmp_path, rate_hz, channels):
    path = tmp_path / "absurd"
    path.write_bytes(wav(rate_hz, channels, bytes(200 * channels)))
    error = refused(prober, path)
    assert (error.code, error.retryable) == ("media.unsupported", False)


def test_a_file_that_is_not_there_is_not_damaged(prober, tmp_path):
    assert refused(prober, tmp_path / "nowhere").code == "object.not_found"
    assert refused(prober, tmp_path).code == "object.not_found"


@pytest.mark.parametrize("form", ["wav", "mp3", "m4a", "mkv", "flac", "ogg_opus", "avi", "wma"])
def test_no_damage_does_harm(prober, tmp_path, form):
    path = tmp_path / "hostile"
    prober.probe_at(str(write(tmp_path, "wav", SOUND)))
    pid = prober.pid
    for version in mutations(encode(form, tone(0.4)), 60, seed=len(form)):
        path.write_bytes(version)
        begin = time.monotonic()
        try:
            assert isinstance(prober.probe_at(str(path)), Probe)
        except PipelineError as error:
            assert error.code.startswith("media."), error
            assert "hostile" not in str(error)
        assert time.monotonic() - begin < 5
    assert prober.pid == pid, "a damaged file crashed FFmpeg: contained, but worth knowing"


def test_flipped_content_behind_an_intact_header_is_sound_or_a_refusal(prober, tmp_path):
    content = encode("m4a_faststart", SOUND)
    path = tmp_path / "flipped"
    path.write_bytes(flip(content, len(content) // 2, len(content) // 2))
    assert refused(prober, path).code == "media.corrupt"


def test_a_child_that_cannot_start_is_our_fault_and_not_the_files(tmp_path):
    prober = ContentProber(lambda ref: ref.name, command=(sys.executable, "-c", "raise SystemExit(1)"))
    try:
        error = refused(prober, write(tmp_path, "wav", SOUND))
        assert (error.code, error.retryable) == ("service.unavailable", True)
    finally:
        prober.close()


def test_the_child_is_replaced_after_its_probes(tmp_path):
    path = str(write(tmp_path, "wav", SOUND))
    prober = ContentProber(lambda ref: ref.name, probes_per_child=2)
    try:
        pids = []
        for _ in range(4):
            prober.probe_at(path)
            pids.append(prober.pid)
    finally:
        prober.close()
    assert pids[0] != pids[1] == pids[2] != pids[3]


def test_the_child_sees_nothing_of_our_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("A_SECRET", "hunter2")
    code = "import os\nprint('{\"ready\": true}', flush=True)\ninput()\n"
    code += 'print(\'{"refusal": ["media.corrupt", "%s"]}\' % os.environ.get("A_SECRET"), flush=True)'
    prober = ContentProber(lambda ref: ref.name, command=(sys.executable, "-c", code))
    try:
        assert refused(prober, tmp_path / "any").message == "None"
    finally:
        prober.close()


def test_a_warm_probe_takes_milliseconds(prober, tmp_path):
    path = str(write(tmp_path, "wav", SOUND))
    taken = []
    for _ in range(30):
        begin = time.perf_counter()
        prober.probe_at(path)
        taken.append(time.perf_counter() - begin)
    # The goal is 5 ms; the middle of many, with room for a busy machine.
    assert sorted(taken)[15] < 0.02


class _Store(http.server.BaseHTTPRequestHandler):
    """An object store with ranges, and with the faults that stores have."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[str]] = []

    def do_GET(self):
        self.requests.append(self.headers.get("Range", ""))
        name = self.path.split("?")[0]
        if name.startswith("/status/"):
            return self._answer(int(name.rpartition("/")[2]), b"")
        if name == "/redirect":
            return self._answer(302, b"", Location="/wav")
        content = self.objects[name.removeprefix("/broken").removeprefix("/whole")]
        if name.startswith("/whole"):
            return self._answer(200, content)
        first, last = (int(number) for number in re.fullmatch(r"bytes=(\d+)-(\d+)", self.requests[-1]).groups())
        if name.startswith("/broken") and first > 0:
            return self._answer(503, b"")
        if first >= len(content):
            return self._answer(416, b"")
        part = content[first : last + 1]
        return self._answer(206, part, **{"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"})

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


@pytest.fixture
def store():
    _Store.objects = {"/wav": encode("wav", SOUND), "/empty": b""}
    _Store.requests = []
    with _Server(("127.0.0.1", 0), _Store) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_gives_what_a_path_gives(prober, store, tmp_path):
    for form in FORMS:
        path = write(tmp_path, form, SOUND)
        _Store.objects[f"/{form}"] = path.read_bytes()
        assert prober.probe_at(f"{store}/{form}?signature=a%2Fb") == prober.probe_at(str(path))


def test_a_long_recording_is_probed_by_a_few_ranges(prober, store):
    for form in ("wav", "m4a", "mkv", "flac", "mp3"):
        _Store.objects[f"/{form}"] = content = encode(form, tone(60.0))
        _Store.requests.clear()
        assert prober.probe_at(f"{store}/{form}").duration_s == pytest.approx(60, abs=0.2)
        assert len(_Store.requests) <= 5
        assert len(content) > 128 * 1024


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/status/404", "object.not_found"),
        ("/status/410", "object.not_found"),
        ("/status/403", "service.unavailable"),
        ("/status/500", "service.unavailable"),
        ("/status/503", "service.unavailable"),
        ("/redirect", "service.unavailable"),
        ("/whole/wav", "service.unavailable"),
        ("/empty", "media.empty"),
    ],
)
def test_a_store_that_refuses_is_no_damaged_file(prober, store, path, code):
    with pytest.raises(PipelineError) as caught:
        prober.probe_at(store + path)
    assert caught.value.code == code
    assert store not in str(caught.value)


@pytest.mark.parametrize("form", ["m4a", "mkv", "flac", "avi", "wav_24_stereo"])
def test_a_store_that_fails_in_the_middle_is_no_damaged_file(prober, store, form):
    _Store.objects[f"/{form}"] = encode(form, tone(60.0))
    with pytest.raises(PipelineError) as caught:
        prober.probe_at(f"{store}/broken/{form}")
    assert caught.value.code == "service.unavailable"


def test_a_store_that_does_not_answer_is_no_damaged_file(prober):
    with pytest.raises(PipelineError) as caught:
        prober.probe_at("http://127.0.0.1:9/never")
    assert (caught.value.code, caught.value.retryable) == ("service.unavailable", True)


def test_a_store_that_is_silent_is_given_up_before_the_probe_is(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        prober = ContentProber(lambda ref: ref.name, timeout_s=2.0)
        try:
            prober.probe_at(str(write(tmp_path, "wav", SOUND)))
            with pytest.raises(PipelineError) as caught:
                prober.probe_at(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        finally:
            prober.close()
    assert caught.value.code == "service.unavailable"


def test_probes_from_many_threads_do_not_mix(prober, tmp_path):
    paths = {form: str(write(tmp_path, form, SOUND)) for form in ("wav", "mp3", "flac", "aiff")}
    found = {}

    def ask(form):
        found[form] = {prober.probe_at(paths[form]).container for _ in range(10)}

    threads = [threading.Thread(target=ask, args=(form,)) for form in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {form: {FORMS[form].container} for form in paths}


def test_the_child_leaves_heavy_imports_to_others():
    code = "import sys, infra.probe_child; print([m for m in ('pydantic', 'numpy', 'httpx') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True)
    assert run.stdout.strip() == "[]"
