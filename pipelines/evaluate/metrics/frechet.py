"""Fréchet distance between drawn and real images, as Gaussians in a feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.metrics.statistics import jackknife


@dataclass
class Moments:
    """Running mean and covariance of features in float64, without keeping the images.

    Attributes:
        n: Number of rows.
        mean: (d,).
        scatter: (d, d), the sum of outer products of deviations from the mean.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, d: int) -> Moments:
        """Return the moments of no rows, with `d` dimensions."""
        return cls(0, np.zeros(d), np.zeros((d, d)))

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Compute the moments of (n, d) features."""
        return cls.empty(features.shape[1]).add(features)

    @classmethod
    def union(cls, parts: Sequence[Moments]) -> Moments:
        """Combine the moments of disjoint sets (Chan et al., 1979)."""
        counts = np.array([part.n for part in parts])
        means = np.array([part.mean for part in parts])
        n = max(int(counts.sum()), 1)
        mean = counts @ means / n
        shifts = means - mean
        scatter = sum((part.scatter for part in parts), (shifts.T * counts) @ shifts)
        return cls(int(counts.sum()), mean, scatter)

    def add(self, features: np.ndarray) -> Moments:
        """Return the moments after adding (n, d) rows, n >= 0."""
        rows = np.asarray(features, dtype=np.float64)
        if not len(rows):
            return self
        centred = rows - rows.mean(axis=0)
        return self.union([self, Moments(len(rows), rows.mean(axis=0), centred.T @ centred)])

    @property
    def covariance(self) -> np.ndarray:
        """The sample covariance, (d, d), divided by n - 1.

        Raises:
            ValueError: If there are fewer than two rows.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs at least two rows, got {self.n}")
        return self.scatter / (self.n - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Compute the squared Fréchet distance between two Gaussians (Dowson and Landau, 1982).

    ``|mean_a - mean_b|² + tr(A) + tr(B) - 2 tr((A^½ B A^½)^½)``, from symmetric eigenvalues in
    float64, which stay real and stable if a covariance is singular. This is the FID only on
    Inception features; on other features, report their name with the number.

    Args:
        a: Moments of one set, of at least two rows.
        b: Moments of the other set.

    Returns:
        The distance, at least 0, in squared feature units. It is biased upwards for small n, so
        compare only sets of equal size against the same reference.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    middle = root @ b.covariance @ root
    # The sum of the eigenvalues' roots is the trace of the matrix square root.
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((middle + middle.T) / 2.0), 0.0, None)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    gap = a.mean - b.mean
    return max(float(gap @ gap + traces - 2.0 * cross), 0.0)


def frechet_by_caption(
    drawn: Sequence[Moments], real: Sequence[Moments]
) -> tuple[float, np.ndarray]:
    """Compute the Fréchet distance over all captions, with jackknife pseudo-values per caption.

    Args:
        drawn: Moments of each caption's drawn images.
        real: Moments of each caption's real images.

    Returns:
        The distance and the pseudo-values, see `jackknife`. A caption is left out on both sides.
    """

    def of(kept: np.ndarray) -> float:
        return frechet_distance(*(Moments.union([side[i] for i in kept]) for side in (drawn, real)))

    return jackknife(of, len(drawn))
