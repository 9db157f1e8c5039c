"""The stage table and its checks."""

import pytest

from shared.options import JobOptions
from shared.stages import STAGES, Kind, Product, Stage, stage_table, upstream


def row(name: str, consumes: tuple[Kind, ...], yields: Kind, *files: str) -> Stage:
    return Stage(name, consumes, yields, tuple(Product(yields, file, "text/plain") for file in files))


VALIDATE = row("validate", (Kind.UPLOAD,), Kind.MEDIA)
TRANSCRIBE = row("transcribe", (Kind.MEDIA,), Kind.WORDS, "words.json")


def test_every_stage_comes_after_those_it_waits_for() -> None:
    seen: set[str] = set()
    for stage in STAGES.values():
        assert {before.name for before in upstream(stage, STAGES)} <= seen
        seen.add(stage.name)


def test_the_graph_follows_from_what_rows_consume() -> None:
    graph = {name: {before.name for before in upstream(stage, STAGES)} for name, stage in STAGES.items()}
    assert graph == {
        "validate": set(),
        "transcribe": {"validate"},
        "diarize": {"validate"},
        "attribute": {"transcribe", "diarize"},
        "caption": {"attribute"},
    }


def test_rows_are_sorted_whatever_order_they_are_given_in() -> None:
    assert list(stage_table(TRANSCRIBE, VALIDATE)) == ["validate", "transcribe"]


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        STAGES["validate"] = VALIDATE  # type: ignore[index]


def test_stages_on_accelerators_have_apps_and_classes_of_their_names() -> None:
    placed = {stage.name: (stage.app_name, stage.class_name, stage.gpu) for stage in STAGES.values() if stage.gpu}
    assert placed == {
        "transcribe": ("earwitness-transcribe", "Transcribe", "L4"),
        "diarize": ("earwitness-diarize", "Diarize", "T4"),
    }


def test_only_diarize_depends_on_options() -> None:
    assert [name for name, stage in STAGES.items() if not stage.applies(JobOptions(diarize=False))] == ["diarize"]
    assert all(stage.applies(JobOptions()) for stage in STAGES.values())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((VALIDATE, row("validate", (Kind.MEDIA,), Kind.WORDS)), "two stages have one name"),
        ((VALIDATE, TRANSCRIBE, row("listen", (Kind.MEDIA,), Kind.WORDS)), "two stages yield one kind"),
        ((VALIDATE, row("upload", (Kind.MEDIA,), Kind.UPLOAD)), "two stages yield one kind"),
        ((VALIDATE, TRANSCRIBE, row("diarize", (Kind.MEDIA,), Kind.TURNS, "words.json")), "two stages write one file"),
        ((VALIDATE, row("transcribe", (Kind.MEDIA,), Kind.WORDS, "a", "a")), "two stages write one file"),
        ((VALIDATE, row("caption", (Kind.TRANSCRIPT,), Kind.CAPTIONS)), "nothing yields transcript, which caption"),
        (
            (row("attribute", (Kind.CAPTIONS,), Kind.TRANSCRIPT), row("caption", (Kind.TRANSCRIPT,), Kind.CAPTIONS)),
            "stages wait for each other: .*(attribute.*caption|caption.*attribute)",
        ),
        ((row("transcribe", (Kind.WORDS,), Kind.WORDS),), "stages wait for each other"),
        ((Stage("validate", (Kind.UPLOAD,), Kind.MEDIA, (Product(Kind.WORDS, "w", "text/plain"),)),), "does not yield"),
        ((Stage("validate", (Kind.UPLOAD,), Kind.MEDIA, placement="gpu"),), "names an accelerator"),
        ((Stage("validate", (Kind.UPLOAD,), Kind.MEDIA, gpu="T4"),), "names an accelerator"),
    ],
)
def test_a_wrong_table_is_refused(rows: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stage_table(*rows)
