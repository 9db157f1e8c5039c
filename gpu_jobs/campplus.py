"""CAM++ speaker embeddings as a pyannote.audio model.

Architecture and weights: 3D-Speaker, `speech_campplus_sv_zh_en_16k-common_advanced` (Wang et al., "CAM++: A Fast and
Efficient Network for Speaker Verification Using Context-Aware Masking", Interspeech 2023). Imports torch: load it
only where a model runs.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
import torchaudio.compliance.kaldi as kaldi
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.blocks.pooling import StatsPool

from shared.errors import PipelineError
from shared.weights import EMBEDDING_ARCHITECTURE_FILE, EMBEDDING_FILE, WeightFile

DIMENSION = 192
_MEL_BINS = 80
# The weights were trained on 16-bit samples; ours are in -1..1.
_SAMPLE_SCALE = 1 << 15


class CampplusEmbedding(Model):
    """Embeds each speaker of a stretch of audio, told where they speak.

    Args:
        network: A loaded ``CAMPPlus``.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__(sample_rate=16_000, num_channels=1)
        self.network: Any = network
        self.pool = StatsPool()
        self.specifications = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0)
        self.eval()

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return DIMENSION

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Embed.

        Args:
            waveforms: Shape (batch, 1, samples), 16 kHz, in -1..1.
            weights: Shape (batch, frames): where the speaker speaks, 0..1; ``None`` for everywhere.

        Returns:
            Shape (batch, 192). A row without any weight is NaN, which clustering leaves out.
        """
        if weights is None:
            return self._head(self.pool(self._frames(waveforms)))
        # The pipeline sends a stretch of audio once for each of its speakers: the frames are the same for all.
        embeddings = waveforms.new_full((waveforms.shape[0], DIMENSION), float("nan"))
        for rows in _runs_of_equals(waveforms):
            heard = [row for row in rows if bool(weights[row].any())]
            if heard:
                frames = self._frames(waveforms[heard[:1]]).expand(len(heard), -1, -1)
                embeddings[heard] = self._head(self.pool(frames, weights=weights[heard]))
        return embeddings

    def _frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Frame features before pooling, shape (batch, channels, frames)."""
        features = torch.stack([self._filter_bank(waveform) for waveform in waveforms])
        hidden: torch.Tensor = self.network.head(features.permute(0, 2, 1))
        for name, layer in self.network.xvector.named_children():
            if name == "stats":
                break
            hidden = layer(hidden)
        return hidden

    def _filter_bank(self, waveform: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = kaldi.fbank(
            waveform * _SAMPLE_SCALE, num_mel_bins=_MEL_BINS, sample_frequency=16_000, dither=0.0
        )
        return features - features.mean(dim=0, keepdim=True)

    def _head(self, statistics: torch.Tensor) -> torch.Tensor:
        # 3D-Speaker ends in linear and batch norm. The architecture file appends a ReLU, which would fold half of
        # the space that cosine distances are measured in.
        dense = self.network.xvector.dense
        embeddings: torch.Tensor = dense.nonlinear.batchnorm(dense.linear(statistics.unsqueeze(-1)).squeeze(-1))
        return embeddings


def load_campplus(folder: Path, files: tuple[WeightFile, ...]) -> CampplusEmbedding:
    """Load the model from its folder.

    The architecture is code, so its checksum is compared before it is run; the weights are read as data only.

    Args:
        folder: The model's.
        files: Its rows in the models file.

    Raises:
        PipelineError: ``model.corrupt``.
    """
    source = (folder / EMBEDDING_ARCHITECTURE_FILE).read_bytes()
    expected = next(file.sha256 for file in files if file.name == EMBEDDING_ARCHITECTURE_FILE)
    if hashlib.sha256(source).hexdigest() != expected:
        raise PipelineError("model.corrupt", file=EMBEDDING_ARCHITECTURE_FILE)
    spec = importlib.util.spec_from_loader("_campplus_architecture", loader=None)
    architecture: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    exec(compile(source, EMBEDDING_ARCHITECTURE_FILE, "exec"), architecture.__dict__)  # noqa: S102 - verified above
    network = architecture.CAMPPlus(feat_dim=_MEL_BINS, embedding_size=DIMENSION, memory_efficient=False)
    weights = torch.load(folder / EMBEDDING_FILE, map_location="cpu", weights_only=True)
    network.load_state_dict(weights, strict=True)
    return CampplusEmbedding(network)


def _runs_of_equals(waveforms: torch.Tensor) -> list[list[int]]:
    """Indices of neighbours that hold the same audio."""
    runs: list[list[int]] = []
    for index, waveform in enumerate(waveforms):
        if runs and torch.equal(waveforms[runs[-1][0]], waveform):
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
