"""Fréchet distance: how far drawn images lie from real ones, as Gaussians in a feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.metrics.statistics import jackknife


@dataclass
class Moments:
    """Running mean and covariance of features, in float64, so that no image need be kept.

    Attributes:
        n: Rows seen.
        mean: (d,).
        scatter: (d, d), the sum of outer products of deviations from the mean.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, d: int) -> Moments:
        """Start with no rows of dimension `d`."""
        return cls(0, np.zeros(d), np.zeros((d, d)))

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Take the moments of (n, d) at once."""
        return cls.empty(features.shape[1]).add(features)

    @classmethod
    def union(cls, parts: Sequence[Moments]) -> Moments:
        """Return the moments of one or more disjoint sets together (Chan et al., 1979)."""
        counts = np.array([part.n for part in parts])
        means = np.array([part.mean for part in parts])
        n = max(int(counts.sum()), 1)
        mean = counts @ means / n
        shifts = means - mean
        scatter = sum((part.scatter for part in parts), (shifts.T * counts) @ shifts)
        return cls(int(counts.sum()), mean, scatter)

    def add(self, features: np.ndarray) -> Moments:
        """Return the moments with (n, d) more rows, n of 0 or more."""
        rows = np.asarray(features, dtype=np.float64)
        if not len(rows):
            return self
        centred = rows - rows.mean(axis=0)
        return self.union([self, Moments(len(rows), rows.mean(axis=0), centred.T @ centred)])

    @property
    def covariance(self) -> np.ndarray:
        """(d, d), divided by n - 1.

        Raises:
            ValueError: If fewer than two rows were seen.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs two rows or more, got {self.n}")
        return self.scatter / (self.n - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance between two Gaussians (Dowson and Landau, 1982).

    ``|mean_a - mean_b|² + tr(A) + tr(B) - 2 tr((A^½ B A^½)^½)``, by symmetric eigenvalues in
    float64, which stays real and stable where a covariance is singular. On Inception's features
    this is the FID; on any other it is not, and the features' name belongs beside the number.

    Args:
        a: Moments of one set, of two rows or more.
        b: Moments of the other.

    Returns:
        The distance, at least 0, in squared units of the features. It is biased upwards for small
        n: compare only sets of equal size against the same reference.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    middle = root @ b.covariance @ root
    # The roots' sum is the trace of the product's square root.
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((middle + middle.T) / 2.0), 0.0, None)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    gap = a.mean - b.mean
    return max(float(gap @ gap + traces - 2.0 * cross), 0.0)


def frechet_by_caption(
    drawn: Sequence[Moments], real: Sequence[Moments]
) -> tuple[float, np.ndarray]:
    """Fréchet distance of all captions together, with each caption's jackknife pseudo-value.

    Args:
        drawn: Moments of the drawn images of each caption.
        real: Moments of the real images of each caption.

    Returns:
        The distance and the pseudo-values, see `jackknife`; captions are left out on both sides.
    """

    def of(kept: np.ndarray) -> float:
        return frechet_distance(*(Moments.union([side[i] for i in kept]) for side in (drawn, real)))

    return jackknife(of, len(drawn))
