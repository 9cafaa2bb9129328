"""Precision, recall, density and coverage: whose neighbourhoods drawn and real images lie in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 64
"""Rows of a distance matrix held at once."""

NEIGHBOURS = 3
"""k of precision, recall, density and coverage."""


@dataclass(frozen=True, slots=True)
class Balls:
    """Points with a ball around each, that reaches to its k-th nearest other.

    Attributes:
        points: (n, d).
        reach: (n,), squared radii.
        k: Neighbours.
    """

    points: np.ndarray
    reach: np.ndarray
    k: int

    @classmethod
    def around(cls, points: np.ndarray, k: int = NEIGHBOURS) -> Balls:
        """Find the balls of (n, d) features.

        Raises:
            ValueError: If there are k points or fewer.
        """
        if len(points) <= k:
            raise ValueError(f"k = {k} neighbours need more than {k} images, got {len(points)}")
        reach = np.empty(len(points))
        for start in range(0, len(points), BLOCK):
            distances = squared_distances(points[start : start + BLOCK], points)
            rows = np.arange(len(distances))
            distances[rows, start + rows] = np.inf
            reach[start : start + BLOCK] = np.partition(distances, k - 1, axis=1)[:, k - 1]
        return cls(points, reach, k)


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


def prdc(real: Balls, drawn: Balls) -> Prdc:
    """Compare two sets by the balls around their points.

    A set's manifold is the union of its balls (precision and recall: Kynkäänniemi et al.,
    1904.06991). For density and coverage (Naeem et al., 2002.09797, eqs. 3 and 4) only the real
    points' balls count, so an outlier among the drawn ones cannot reach far, as it can in recall;
    and a drawn point counts once for every ball that it lies in.

    Args:
        real: Features of real images, (n, d).
        drawn: Features of drawn images, (m, d). Recall depends on n and m, coverage grows with m:
            keep them equal.

    Returns:
        The values of all points, each metric's mean being the metric.
    """
    m = len(drawn.points)
    precise, density = np.zeros(m, dtype=bool), np.zeros(m)
    recalled, covered = np.zeros((2, len(real.points)), dtype=bool)
    for start in range(0, m, BLOCK):
        block = slice(start, start + BLOCK)
        distances = squared_distances(drawn.points[block], real.points)
        precise[block] = (distances <= real.reach).any(1)
        recalled |= (distances <= drawn.reach[block, None]).any(0)
        # Open balls here, as in the authors' code: a set against itself has a density of 1.
        inside = distances < real.reach
        density[block] = np.count_nonzero(inside, axis=1) / real.k
        covered |= inside.any(0)
    return Prdc(precise, recalled, density, covered)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs, in float64: (n, d), (m, d) -> (n, m)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    distances = (-2.0 * a) @ b.T
    # First the two, so that a and b can change places: what lies on a ball's edge is equally far.
    distances += (a * a).sum(1)[:, None] + (b * b).sum(1)
    return np.maximum(distances, 0.0, out=distances)
