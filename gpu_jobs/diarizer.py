"""Who speaks when, with pyannote.audio: local segmentation, speaker embeddings, one global clustering."""

import contextlib
import mmap
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpu_jobs.attempt import OnProgress
from gpu_jobs.audio import SAMPLE_RATE_HZ, AudioStream, Samples
from shared.errors import PipelineError
from shared.media import MediaLimits
from shared.options import JobOptions
from shared.transcript import Diarization, Notice, Turn
from shared.weights import SEGMENTATION_FILE, Model, find_model

# Tuned on nine recordings: diarization error .076 without a collar, all numbers of speakers right. A smaller step
# between the stretches that are looked at (.1) doubles the time and changes little.
STEP = 0.2
THRESHOLD = 0.7
MIN_CLUSTER_SIZE = 6
# Clustering compares all pairs: 6000 need 150 MB. That is more than an hour of speech; of a longer recording, so
# many stretches, evenly spread, shape the clusters, and every stretch is assigned to the nearest.
MAX_CLUSTERED = 6000
# Progress: share of the whole by the end of each step.
_DECODED, _SEGMENTED = 0.03, 0.2
_RELEASE_EVERY = 64
_MIN_SPOKEN_S = 0.2


def import_runtime() -> None:
    """Import what runs the model, which takes seconds; looks for no accelerator.

    Not done where this module is imported, so that looking at a job does not load a model runtime.
    """
    # Read when pyannote is imported: it would report usage, and look for files at the hub.
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gpu_jobs import torchaudio_stub

    torchaudio_stub.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That torchcodec, which is not used, is missing.
        import pyannote.audio.pipelines  # noqa: F401


@dataclass(frozen=True)
class Told:
    """What came of one recording."""

    diarization: Diarization
    notices: tuple[Notice, ...]


class Diarizer:
    """A loaded pipeline.

    Args:
        models_dir: Holds the model's folder, by alias.
        alias: A row of :data:`shared.weights.MODELS`.

    Raises:
        PipelineError: ``model.unknown``, ``model.unavailable`` or ``model.corrupt``.
    """

    def __init__(self, models_dir: Path, alias: str) -> None:
        self.model = find_model(alias, "diarize")
        folder = models_dir / alias
        if not all((folder / file.name).is_file() for file in self.model.files):
            raise PipelineError("model.unavailable", f"Model '{alias}' is not on this machine.")
        import_runtime()
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            # On shared cores two threads that wait for each other took 17 times as long as one.
            torch.set_num_threads(1)
        self._pipeline = _build_pipeline(folder, self.model, self.device)

    def diarize(
        self,
        media: str | IO[bytes],
        *,
        options: JobOptions | None = None,
        limits: MediaLimits | None = None,
        on_progress: OnProgress | None = None,
    ) -> Told:
        """Find the turns of a recording.

        Args:
            media: Path, or a binary file that can seek.
            options: The number of speakers, or bounds, where they are known.
            limits: What is accepted.
            on_progress: Called often.

        Returns:
            Turns by start time, which may overlap, of ``SPEAKER_00`` and on in the order in which they first
            speak. None for silence, or for what is too short to tell.

        Raises:
            PipelineError: A ``media.*`` code.
        """
        asked = options or JobOptions()
        with (
            AudioStream(media, limits or MediaLimits()) as audio,
            _on_disk(audio, _Progress(None, on_progress)) as samples,
        ):
            turns = self._turns(samples, asked, _Progress(samples, on_progress))
            diarization = Diarization(duration_s=audio.decoded_s, turns=turns, model=self.model.label)
            return Told(diarization, audio.notices)

    def _turns(self, samples: Samples, options: JobOptions, progress: "_Progress") -> tuple[Turn, ...]:
        import torch

        duration_s = samples.size / SAMPLE_RATE_HZ
        with warnings.catch_warnings():
            # Of means of nothing, for stretches in which nobody speaks, and of fewer speakers than asked for.
            warnings.simplefilter("ignore")
            output = self._pipeline(
                {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE_HZ, "uri": "media"},
                num_speakers=options.num_speakers,
                min_speakers=options.min_speakers,
                max_speakers=options.max_speakers,
                hook=progress.on_step,
            )
        spans = [
            (max(0.0, span.start), min(duration_s, span.end), label)
            for span, _, label in output.speaker_diarization.itertracks(yield_label=True)
        ]
        return _named_by_appearance(sorted(span for span in spans if span[0] < span[1]))


def _build_pipeline(folder: Path, row: Model, device: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of what torch deprecates, and pyannote still uses.
        import torch
        from pyannote.audio import Model as PyannoteModel
        from pyannote.audio.pipelines import SpeakerDiarization

        from gpu_jobs.bounded_clustering import BoundedClustering, NoPlda
        from gpu_jobs.campplus import load_campplus

        is_cpu = device == "cpu"
        segmentation = PyannoteModel.from_pretrained(str(folder / SEGMENTATION_FILE))
        if segmentation is None:
            raise PipelineError("model.unavailable")
        pipeline: Any = SpeakerDiarization(
            segmentation=segmentation,
            segmentation_step=STEP,
            segmentation_batch_size=1 if is_cpu else 32,
            embedding=load_campplus(folder, row.files),
            embedding_exclude_overlap=True,
            # On a CPU, the three speakers of one stretch; see CampplusEmbedding.forward.
            embedding_batch_size=3 if is_cpu else 96,
            clustering="AgglomerativeClustering",
            plda=NoPlda(),
        )
    pipeline.clustering = BoundedClustering(metric=pipeline.clustering.metric, max_clustered=MAX_CLUSTERED)
    pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {"method": "centroid", "min_cluster_size": MIN_CLUSTER_SIZE, "threshold": THRESHOLD},
        }
    )
    pipeline.to(torch.device(device))
    return pipeline


@contextlib.contextmanager
def _on_disk(audio: AudioStream, progress: "_Progress") -> Iterator[Samples]:
    """Decoded audio in a file without a name, mapped: what is not looked at takes no memory."""
    with tempfile.TemporaryFile() as raw:
        for block in audio.blocks():
            raw.write(block.astype("<f4", copy=False).tobytes())
            progress.decoded(audio)
        raw.flush()
        # Copy on write only because torch wants memory that could be written.
        samples: Samples = np.memmap(raw, dtype="<f4", mode="c")
        yield samples


class _Progress:
    """Turns the pipeline's steps into one share, and lets go of audio that was used."""

    def __init__(self, samples: Samples | None, on_progress: OnProgress | None) -> None:
        self._samples = samples
        self._on_progress = on_progress
        self._calls = 0

    def decoded(self, audio: AudioStream) -> None:
        self._tell(_DECODED * min(1.0, audio.decoded_s / max(audio.estimate_s, 1e-9)))

    def on_step(
        self, step: str, _artifact: Any, *, completed: int | None = None, total: int | None = None, **_: Any
    ) -> None:
        """The pipeline's hook."""
        if not total or completed is None:
            return
        self._release()
        share = min(1.0, completed / total)
        if step == "segmentation":
            self._tell(_DECODED + (_SEGMENTED - _DECODED) * share)
        elif step == "embeddings":
            self._tell(_SEGMENTED + (0.99 - _SEGMENTED) * share)

    def _tell(self, share: float) -> None:
        if self._on_progress is not None:
            self._on_progress(share, None)

    def _release(self) -> None:
        self._calls += 1
        mapping = getattr(self._samples, "_mmap", None)
        if mapping is not None and self._calls % _RELEASE_EVERY == 0 and hasattr(mmap, "MADV_DONTNEED"):
            # The pages are read from the file again where they are needed again.
            mapping.madvise(mmap.MADV_DONTNEED)


def _named_by_appearance(spans: list[tuple[float, float, Any]]) -> tuple[Turn, ...]:
    """Name who speaks first ``SPEAKER_00``. A blip in which no word could be said makes nobody first."""
    spoken = [label for start_s, end_s, label in spans if end_s - start_s >= _MIN_SPOKEN_S]
    order = dict.fromkeys((*spoken, *(label for _, _, label in spans)))
    names = {label: f"SPEAKER_{number:02d}" for number, label in enumerate(order)}
    return tuple(
        Turn(speaker=names[label], start_s=round(start_s, 3), end_s=round(end_s, 3)) for start_s, end_s, label in spans
    )
