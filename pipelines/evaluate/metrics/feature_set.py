"""What metrics must know of one set of pictures alone, whatever it is compared with."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pipelines.evaluate.metrics.frechet import Moments
from pipelines.evaluate.metrics.kernels import KernelMeans
from pipelines.evaluate.metrics.manifolds import Balls


class FeatureSet:
    """Features of captions' pictures; each property is computed when it is first asked for.

    Args:
        features: (captions, n, d).
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    @cached_property
    def moments(self) -> list[Moments]:
        """Of each caption's features."""
        return [Moments.of(rows) for rows in self.features]

    @cached_property
    def balls(self) -> Balls:
        """Around all features."""
        return Balls.around(self.features.reshape(-1, self.features.shape[-1]))

    @cached_property
    def kernel_means(self) -> KernelMeans:
        """Of the captions' features."""
        return KernelMeans.of(self.features)
