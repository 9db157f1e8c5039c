"""The stage table: one row a stage. The graph follows from what rows consume and produce."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Literal

from shared.errors import PipelineError
from shared.options import JobOptions

# The volume that holds model files where GPU stages are deployed: a folder a model, as in a local folder of models.
MODELS_VOLUME = "earwitness-models"


class Kind(StrEnum):
    """What flows between stages. ``upload`` is what a job starts with; the rest is produced."""

    UPLOAD = "upload"
    MEDIA = "media"
    WORDS = "words"
    TURNS = "turns"
    TRANSCRIPT = "transcript"
    CAPTIONS = "captions"


@dataclass(frozen=True)
class Product:
    """A file that a stage writes, always under the same name, so that it can exist only once."""

    kind: Kind
    filename: str
    content_type: str


@dataclass(frozen=True)
class Stage:
    """One row.

    Attributes:
        name: A verb.
        consumes: Kinds that must be there first (or whose producer does not apply to the job).
        spares: Those of them that it can do without.
        yields: Kind it makes available.
        products: Files that carry it; none where the status document does.
        placement: ``function`` runs inside a cloud function, ``gpu`` on a stage runner.
        gpu: Accelerator that it runs on, by Modal's name for it; set where the placement is ``gpu``.
        cpu_cores: Cores reserved for it there; it may use more.
        memory_mib: Memory reserved for it there; it may use more.
        timeout_s: Limit of one attempt.
        max_attempts: Attempts that may fail for a reason of their own.
        weight: Share of the job's progress, relative to the other stages.
        condition: What the options must be for it, whatever stages they name.
    """

    name: str
    consumes: tuple[Kind, ...]
    yields: Kind
    products: tuple[Product, ...] = ()
    placement: Literal["function", "gpu"] = "function"
    gpu: str | None = None
    cpu_cores: float = 1.0
    memory_mib: int = 1024
    timeout_s: float = 60.0
    max_attempts: int = 3
    weight: float = 1.0
    condition: Callable[[JobOptions], bool] = lambda _: True
    spares: tuple[Kind, ...] = ()

    def applies(self, options: JobOptions) -> bool:
        """Whether a job with these options has this stage."""
        is_named = options.stages is None or Kind.UPLOAD in self.consumes or self.name in options.stages
        return is_named and self.condition(options)

    @property
    def app_name(self) -> str:
        """What its app is called where it is deployed."""
        return f"earwitness-{self.name}"

    @property
    def class_name(self) -> str:
        """Its class in that app, and in its module."""
        return self.name.capitalize()


def stage_table(*rows: Stage) -> Mapping[str, Stage]:
    """Check rows and put them in an order in which they can run.

    Raises:
        ValueError: Two rows share a name or a product, a consumed kind has no producer, a product is not of the
            row's kind, a row has an accelerator and runs on none or the reverse, or there is a cycle.
    """
    by_name = {row.name: row for row in rows}
    producers = {row.yields: row.name for row in rows}
    filenames = [product.filename for row in rows for product in row.products]
    if len(by_name) != len(rows):
        raise ValueError("two stages have one name")
    if len(producers) != len(rows) or Kind.UPLOAD in producers:
        raise ValueError("two stages yield one kind")
    if len(set(filenames)) != len(filenames):
        raise ValueError("two stages write one file")
    for row in rows:
        for kind in row.consumes:
            if kind is not Kind.UPLOAD and kind not in producers:
                raise ValueError(f"nothing yields {kind}, which {row.name} consumes")
        if any(product.kind is not row.yields for product in row.products):
            raise ValueError(f"{row.name} writes a kind that it does not yield")
        if (row.gpu is not None) != (row.placement == "gpu"):
            raise ValueError(f"{row.name} names an accelerator and is not placed on one, or the reverse")
    edges = {row.name: [producers[kind] for kind in row.consumes if kind in producers] for row in rows}
    try:
        order = tuple(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise ValueError(f"stages wait for each other: {error.args[1]}") from error
    return MappingProxyType({name: by_name[name] for name in order})


def upstream(stage: Stage, table: Mapping[str, Stage]) -> tuple[Stage, ...]:
    """The stages that yield what this one consumes."""
    return tuple(row for row in table.values() if row.yields in stage.consumes)


def check_stages(options: JobOptions, table: Mapping[str, Stage]) -> None:
    """Refuse a choice of stages of which one would wait for ever, or that comes to nothing that can be read.

    Raises:
        PipelineError: ``request.contradictory``.
    """
    chosen = set(options.stages or ())
    optional = [row.name for row in table.values() if Kind.UPLOAD not in row.consumes]
    if unknown := sorted(chosen - set(optional)):
        there_are = ", ".join(optional)
        raise PipelineError("request.contradictory", f"stages: there is no '{unknown[0]}'; there are {there_are}.")
    applying = [row for row in table.values() if row.applies(options)]
    there = {Kind.UPLOAD, *(row.yields for row in applying)}
    for row in applying:
        if missing := [kind for kind in row.consumes if kind not in there and kind not in row.spares]:
            maker = next(other.name for other in table.values() if other.yields is missing[0])
            raise PipelineError("request.contradictory", f"stages: {row.name} needs {maker}.")
    if Kind.TRANSCRIPT not in there:
        maker = next(row.name for row in table.values() if row.yields is Kind.TRANSCRIPT)
        raise PipelineError("request.contradictory", f"stages: without {maker} there is no transcript.")


STAGES = stage_table(
    Stage("validate", consumes=(Kind.UPLOAD,), yields=Kind.MEDIA, max_attempts=5, weight=1),
    Stage(
        "transcribe",
        consumes=(Kind.MEDIA,),
        yields=Kind.WORDS,
        products=(Product(Kind.WORDS, "words.json", "application/json"),),
        placement="gpu",
        gpu="L4",
        cpu_cores=2.0,
        memory_mib=4096,
        timeout_s=4 * 3600.0,
        weight=60,
    ),
    Stage(
        "diarize",
        consumes=(Kind.MEDIA,),
        yields=Kind.TURNS,
        products=(Product(Kind.TURNS, "turns.json", "application/json"),),
        placement="gpu",
        gpu="T4",
        cpu_cores=2.0,
        memory_mib=4096,
        timeout_s=4 * 3600.0,
        weight=35,
        condition=lambda options: options.diarize,
    ),
    Stage(
        "attribute",
        consumes=(Kind.WORDS, Kind.TURNS),
        spares=(Kind.TURNS,),
        yields=Kind.TRANSCRIPT,
        products=(Product(Kind.TRANSCRIPT, "transcript.json", "application/json"),),
        timeout_s=300.0,
        weight=2,
    ),
    Stage(
        "caption",
        consumes=(Kind.TRANSCRIPT,),
        yields=Kind.CAPTIONS,
        products=(
            Product(Kind.CAPTIONS, "captions.srt", "application/x-subrip"),
            Product(Kind.CAPTIONS, "captions.vtt", "text/vtt"),
        ),
        timeout_s=300.0,
        weight=2,
    ),
)
