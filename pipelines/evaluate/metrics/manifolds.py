"""Precision, recall, density and coverage from nearest-neighbour balls of drawn and real images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 64
"""Rows of a distance matrix that are in memory at the same time."""

NEIGHBOURS = 3
"""k of precision, recall, density and coverage."""


@dataclass(frozen=True, slots=True)
class Balls:
    """Points, each with a ball that reaches to its k-th nearest neighbour.

    Attributes:
        points: (n, d).
        reach: (n,), squared radii.
        k: Number of neighbours.
    """

    points: np.ndarray
    reach: np.ndarray
    k: int

    @classmethod
    def around(cls, points: np.ndarray, k: int = NEIGHBOURS) -> Balls:
        """Compute the balls of (n, d) features.

        Raises:
            ValueError: If n <= k.
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
    """Precision, recall, density and coverage of each point; the metrics are their means.

    Attributes:
        precise: bool (m,), whether a drawn point lies in the real manifold.
        recalled: bool (n,), whether a real point lies in the drawn manifold.
        density: (m,), number of real balls that contain a drawn point, over k; the mean can
            exceed 1.
        covered: bool (n,), whether a real point's ball contains a drawn point.
    """

    precise: np.ndarray
    recalled: np.ndarray
    density: np.ndarray
    covered: np.ndarray


def prdc(real: Balls, drawn: Balls) -> Prdc:
    """Compare two sets by the nearest-neighbour balls around their points.

    A set's manifold is the union of its balls (precision and recall: Kynkäänniemi et al.,
    1904.06991). Density and coverage (Naeem et al., 2002.09797, eqs. 3 and 4) use only the balls
    of real points, so that a drawn outlier with a large ball has no effect, as it has on recall. A
    drawn point counts once for every real ball that contains it.

    Args:
        real: Features of real images, (n, d).
        drawn: Features of drawn images, (m, d). Recall depends on n and m, and coverage grows with
            m, so keep them equal.

    Returns:
        The values of all points; a metric is the mean of its values.
    """
    m = len(drawn.points)
    precise, density = np.zeros(m, dtype=bool), np.zeros(m)
    recalled, covered = np.zeros((2, len(real.points)), dtype=bool)
    for start in range(0, m, BLOCK):
        block = slice(start, start + BLOCK)
        distances = squared_distances(drawn.points[block], real.points)
        precise[block] = (distances <= real.reach).any(1)
        recalled |= (distances <= drawn.reach[block, None]).any(0)
        # Open balls, as in the authors' code, so that a set has density 1 against itself.
        inside = distances < real.reach
        density[block] = np.count_nonzero(inside, axis=1) / real.k
        covered |= inside.any(0)
    return Prdc(precise, recalled, density, covered)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute squared Euclidean distances in float64: (n, d), (m, d) -> (n, m)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    distances = (-2.0 * a) @ b.T
    # Add the squared norms first, so that the result is symmetric in a and b to the last bit.
    distances += (a * a).sum(1)[:, None] + (b * b).sum(1)
    return np.maximum(distances, 0.0, out=distances)
