"""Properties of one set of pictures that metrics compute once and reuse in every comparison."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pipelines.evaluate.metrics.frechet import Moments
from pipelines.evaluate.metrics.kernels import KernelMeans
from pipelines.evaluate.metrics.manifolds import Balls


class FeatureSet:
    """Features of captions' pictures; each property is computed on first access.

    Args:
        features: (captions, n, d).
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    @cached_property
    def moments(self) -> list[Moments]:
        """Moments of each caption's features."""
        return [Moments.of(rows) for rows in self.features]

    @cached_property
    def balls(self) -> Balls:
        """Balls around all features."""
        return Balls.around(self.features.reshape(-1, self.features.shape[-1]))

    @cached_property
    def kernel_means(self) -> KernelMeans:
        """Mean kernels between the captions' features."""
        return KernelMeans.of(self.features)
