"""``earwitness transcribe`` and its kin, as a person types them, with the real models."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from jiwer import wer
from whisper_normalizer.english import EnglishTextNormalizer

from gpu_jobs.audio import SAMPLE_RATE_HZ
from infra.cli.sample import sample_path
from infra.settings import Settings
from tests.clouds import wait_for
from tests.commands import EARWITNESS, earwitness
from tests.media import FORMS, REJECTS, encode, tone
from tests.recordings import decoded, dialogue

pytestmark = [pytest.mark.models, pytest.mark.slow]

FIFTEEN_FORMS = (
    *("wav", "mp3", "m4a", "adts", "ogg_opus", "ogg_vorbis", "webm", "flac"),
    *("3gp_aac", "wma", "aiff", "mp4", "mov", "mkv", "avi"),
)
# Of the dialogue, up to a pause: enough words to tell, and every form costs the model's time once more.
FOUR_TURNS_S = 22.0


def test_two_speakers_are_told_apart_and_files_written(models: Path, tmp_path: Path) -> None:
    run = earwitness("transcribe", sample_path(), "--output", tmp_path / "out", "--format", "srt,vtt,json,txt")
    assert run.returncode == 0, run.stderr
    assert "SPEAKER_00: " in run.stdout.splitlines()[0] and "SPEAKER_01: " in run.stdout
    assert "s of audio in" in run.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"sample.{extension}" for extension in ("json", "srt", "txt", "vtt")
    ]


def test_one_recording_in_fifteen_forms_gives_the_same_words(
    models: Path, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    sound = decoded(dialogue().path)[: round(FOUR_TURNS_S * SAMPLE_RATE_HZ)]
    paths = []
    for form in FIFTEEN_FORMS:
        path = tmp_path / f"{form}{FORMS[form].extension}"
        path.write_bytes(encode(form, sound))
        paths.append(path)
    run = earwitness("transcribe", *paths, "--no-diarize", "--json")
    assert run.returncode == 0, run.stderr
    normalise = EnglishTextNormalizer()
    texts = {
        Path(result["file"]).stem: normalise(
            " ".join(
                "".join(word["text"] for word in segment["words"])
                for segment in result["job"]["transcript"]["segments"]
            )
        )
        for result in json.loads(run.stdout)
    }
    rates = {(one, other): wer(texts[one], texts[other]) for one, other in permutations(FIFTEEN_FORMS, 2)}
    assert len(texts["wav"].split()) > 50
    tell(f"{len(texts)} forms; worst pair {max(rates.values()):.3f}; {len(texts['wav'].split())} words")
    assert len(texts) == len(FIFTEEN_FORMS)
    assert max(rates.values()) <= 0.05, rates


def test_what_is_not_a_recording_is_told_by_its_code_and_the_others_still_finish(models: Path, tmp_path: Path) -> None:
    """Every kind of reject through the whole pipeline at once, with one good file among them."""
    good = tmp_path / "good.wav"
    good.write_bytes(encode("wav", tone(1.0)))
    paths, expected = [good], {}
    for name, reject in REJECTS.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(reject.make(tone(2.0)))
        paths.append(path)
        expected[path.name] = reject.code
    run = earwitness("transcribe", *paths, tmp_path / "absent.wav", "--no-diarize", "--output", tmp_path / "out")
    assert run.returncode == 1
    lines = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    told = {line.split(": ")[2]: line.split(": ")[1] for line in lines}
    assert told == {**expected, "absent.wav": "request.invalid"}
    assert all(len(line.split(": ", 3)[3]) > 10 and str(tmp_path) not in line for line in lines)
    assert (tmp_path / "out" / "good.txt").exists()
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("setting", "value", "code", "names"),
    [("MAX_SIZE_BYTES", "20000", "media.too_large", "limit"), ("MAX_DURATION_S", "1", "media.too_long", "1 s")],
)
def test_limits_name_the_limit_and_the_value(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, code: str, names: str
) -> None:
    monkeypatch.setenv(f"EARWITNESS_{setting}", value)
    path = tmp_path / "long.wav"
    path.write_bytes(encode("wav", tone(3.0)))
    run = earwitness("transcribe", path, "--no-diarize")
    assert run.returncode == 1
    assert f"error: {code}: " in run.stderr and names in run.stderr


def test_silence_is_no_error_and_says_so(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    path.write_bytes(encode("wav", np.zeros(16_000 * 3, np.float32)))
    run = earwitness("transcribe", path, "--output", tmp_path, "--format", "json,srt")
    assert run.returncode == 0, run.stderr
    assert "(no speech)" in run.stdout
    assert "No speech was found" in run.stderr
    assert json.loads((tmp_path / "silence.json").read_text())["segments"] == []


@pytest.mark.parametrize(
    "arguments",
    [["--format", "doc"], ["--speakers", "0"], ["--speakers", "2", "--min-speakers", "1"], ["--language", "English"]],
)
def test_wrong_options_are_refused_before_anything_starts(tmp_path: Path, arguments: list[str]) -> None:
    run = earwitness("transcribe", tmp_path / "x.wav", *arguments, timeout_s=20)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_an_unknown_model_is_refused_with_those_there_are(tmp_path: Path) -> None:
    run = earwitness("transcribe", tmp_path / "x.wav", "--model", "nonsense", timeout_s=20)
    assert (run.returncode, run.stderr.startswith("error: model.unknown: ")) == (1, True)
    assert "tiny.en" in run.stderr


def test_a_folder_that_cannot_be_written_is_told_before_the_work(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = earwitness("transcribe", sample_path(), "--output", tmp_path / "file" / "below", timeout_s=20)
    assert (run.returncode, run.stderr.startswith("error: request.invalid: Nothing can be written to ")) == (1, True)


def test_a_wrong_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_MAX_DURATION_S", "long")
    run = earwitness("models", "list", timeout_s=20)
    assert (run.returncode, run.stderr.startswith("error: request.invalid: EARWITNESS_MAX_DURATION_S: ")) == (1, True)


def test_a_damaged_model_is_told_and_mended(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias = "pyannote-3.0-campplus"
    shutil.copytree(models / alias, tmp_path / alias)
    monkeypatch.setenv("EARWITNESS_MODELS_DIR", str(tmp_path))
    (tmp_path / alias / "campplus_cn_en_common.pt").write_bytes(b"damaged")
    told = earwitness("models", "verify", alias, timeout_s=60)
    assert told.returncode == 1 and told.stderr.startswith("error: model.corrupt: ") and "models pull" in told.stderr
    assert earwitness("models", "pull", alias).returncode == 0
    assert earwitness("models", "verify", alias, timeout_s=60).returncode == 0


def test_results_never_overwrite_each_other() -> None:
    from infra.cli.transcribe import _stems

    assert _stems([Path("a.wav"), Path("x/a.mp3"), Path("a-2.wav"), Path("A.ogg")]) == ["a", "a-3", "a-2", "A-4"]


def test_a_name_that_is_no_text_is_a_name_too(models: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff [bold].wav"
    Path(os.fsdecode(odd)).write_bytes(encode("wav", tone(1.0)))
    run = earwitness("transcribe", os.fsdecode(odd), tmp_path / "absent.wav", "--no-diarize")
    assert run.returncode == 1
    assert "? [bold].wav: No speech was found" in run.stderr
    assert "absent.wav: No such file" in run.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_at_once_and_leaves_nothing(models: Path, tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    out = tmp_path / "out"
    # A shell that runs the tests in the background has them ignore Ctrl-C, and their children with them.
    heeding = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {EARWITNESS[-1]}"
    process = subprocess.Popen(
        [*EARWITNESS[:-1], heeding, "transcribe", str(sample_path()), "--output", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    wait_for(lambda: any(tmp_path.glob("earwitness-*/cloud/state.sqlite")))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_models_are_listed_and_verified(models: Path) -> None:
    listed = earwitness("models", "list", timeout_s=30)
    assert listed.returncode == 0 and "tiny.en" in listed.stdout and "(default)" in listed.stdout
    verified = earwitness("models", "verify", "tiny.en", timeout_s=60)
    assert verified.stdout.strip() == "tiny.en: all checksums agree"
    assert earwitness("models", "pull", "nonsense", timeout_s=30).stderr.startswith("error: model.unknown: ")


def test_jobs_of_no_cloud_are_an_error(tmp_path: Path) -> None:
    run = earwitness("jobs", "--data", tmp_path, timeout_s=30)
    assert (run.returncode, run.stderr.startswith("error: job.not_found: ")) == (1, True)
    assert Settings().models_dir.name == "models"
