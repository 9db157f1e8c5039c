"""Agglomerative clustering whose memory does not grow with the square of a recording's length."""

from typing import Any

import numpy as np
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines.clustering import AgglomerativeClustering


class BoundedClustering(AgglomerativeClustering):
    """Clusters at most so many embeddings, evenly spread over the recording; all are assigned afterwards.

    Args:
        metric: Between embeddings.
        max_clustered: How many shape the clusters; memory is 4 times its square, in bytes.
    """

    def __init__(self, metric: str = "cosine", *, max_clustered: int) -> None:
        super().__init__(metric=metric)
        self.max_clustered = max_clustered

    def filter_embeddings(
        self, embeddings: Any, segmentations: Any = None, min_active_ratio: float = 0.2
    ) -> tuple[Any, Any, Any]:
        """Embeddings fit for clustering, shape (n, dimension), with the stretch and local speaker of each, (n,)."""
        kept, stretches, speakers = super().filter_embeddings(embeddings, segmentations, min_active_ratio)
        if len(kept) <= self.max_clustered:
            return kept, stretches, speakers
        chosen = np.linspace(0, len(kept) - 1, self.max_clustered).round().astype(int)
        return kept[chosen], stretches[chosen], speakers[chosen]


class NoPlda(PLDA):
    """Stands where the pipeline would fetch a PLDA model, which this clustering does not use."""

    def __init__(self) -> None:
        """Load nothing."""
