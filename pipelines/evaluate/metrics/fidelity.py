"""Fidelity: how near drawn images lie to real ones in a named feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from pipelines.evaluate.metrics.statistics import jackknife

BLOCK = 256
"""Rows of a distance matrix held at once."""

NEIGHBOURS = 3
"""k of precision, recall, density and coverage."""


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

    def add(self, features: np.ndarray) -> Moments:
        """Return the moments with (n, d) more rows."""
        rows = np.asarray(features, dtype=np.float64)
        if not len(rows):
            return self
        centred = rows - rows.mean(axis=0)
        return self.merge(Moments(len(rows), rows.mean(axis=0), centred.T @ centred))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan, Golub and LeVeque, 1979)."""
        n = self.n + other.n
        if n == 0:
            return self
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter = scatter + np.outer(shift, shift) * (self.n * other.n / n)
        return Moments(n, self.mean + shift * (other.n / n), scatter)

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


def edge_energy(images: np.ndarray) -> np.ndarray:
    """Mean squared difference of neighbouring pixels: blur lowers it, noise raises it.

    A detector is made to overlook a slight blur, and so are its features; this number is not.

    Args:
        images: uint8 (n, height, width, 3).

    Returns:
        (n,), in units of the full range squared.
    """
    x = images.astype(np.float32) / 255.0
    steps = (np.diff(x, axis=1), np.diff(x, axis=2))
    return sum(np.square(step).mean((1, 2, 3)) for step in steps)


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
        return frechet_distance(*(_union([side[i] for i in kept]) for side in (drawn, real)))

    return jackknife(of, len(drawn))


@dataclass(frozen=True, slots=True)
class Prdc:
    """Precision, recall, density and coverage, before the mean over points is taken.

    Attributes:
        precise: bool (m,), whether a drawn point lies in the real ones' manifold.
        recalled: bool (n,), whether a real point lies in the drawn ones' manifold.
        density: (m,), real balls around a drawn point, over k; the mean can exceed 1.
        covered: bool (n,), whether a real point's ball holds a drawn one.
    """

    precise: np.ndarray
    recalled: np.ndarray
    density: np.ndarray
    covered: np.ndarray


def prdc(real: np.ndarray, drawn: np.ndarray, k: int = NEIGHBOURS) -> Prdc:
    """Compare two sets by the balls around their points.

    A point's ball reaches to its k-th nearest neighbour in the same set, the point itself not
    counted; a set's manifold is the union of its balls (precision and recall: Kynkäänniemi et al.,
    1904.06991). For density and coverage (Naeem et al., 2002.09797, eqs. 3 and 4) only the real
    points have balls, so an outlier among the drawn ones cannot reach far, as it can in recall;
    and a drawn point counts once for every ball that it lies in.

    Args:
        real: (n, d) features of real images.
        drawn: (m, d) features of drawn images. Recall depends on n and m, coverage grows with m:
            keep them equal.
        k: Neighbours.

    Returns:
        The values of all points, each metric's mean being the metric.

    Raises:
        ValueError: If a set has k points or fewer.
    """
    for rows in (real, drawn):
        if len(rows) <= k:
            raise ValueError(f"k = {k} neighbours need more than {k} images, got {len(rows)}")
    real_reach, drawn_reach = radii(real, k), radii(drawn, k)
    precise, density = np.zeros(len(drawn), dtype=bool), np.zeros(len(drawn))
    recalled, covered = np.zeros((2, len(real)), dtype=bool)
    for start in range(0, len(drawn), BLOCK):
        block = slice(start, start + BLOCK)
        distances = squared_distances(drawn[block], real)
        precise[block] = (distances <= real_reach).any(1)
        recalled |= (distances <= drawn_reach[block, None]).any(0)
        # Open balls here, as in the authors' code: a set against itself has a density of 1.
        inside = distances < real_reach
        density[block] = np.count_nonzero(inside, axis=1) / k
        covered |= inside.any(0)
    return Prdc(precise, recalled, density, covered)


def radii(points: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Squared distance of each point to its k-th nearest other: (n,)."""
    out = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        distances = squared_distances(points[start : start + BLOCK], points)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        out[start : start + BLOCK] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return out


def _union(parts: Sequence[Moments]) -> Moments:
    return reduce(Moments.merge, parts)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs, in float64: (n, d), (m, d) -> (n, m)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    distances = (-2.0 * a) @ b.T
    # First the two, so that a and b can change places: what lies on a ball's edge is equally far.
    distances += (a * a).sum(1)[:, None] + (b * b).sum(1)
    return np.maximum(distances, 0.0, out=distances)
