"""Kernel distances between two sets of images, which need not be Gaussian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.metrics.manifolds import squared_distances
from pipelines.evaluate.metrics.statistics import jackknife

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A kernel of all pairs: (n, d), (m, d) -> (n, m)."""

CLIP_BANDWIDTH = 10.0
CLIP_SCALE = 1000.0


def polynomial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute KID's kernel, ``(x·y / d + 1)³`` (1801.01401, section 3), of all pairs."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    values = (a / a.shape[1]) @ b.T
    values += 1.0
    return values * values * values  # `** 3` is ten times slower


def clip_gaussian(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute CMMD's kernel (2401.09603, section 4): Gaussian, bandwidth 10, on unit features.

    As in the paper, it is scaled by 1000, because its values are close together.
    """
    return CLIP_SCALE * np.exp(-squared_distances(a, b) / (2.0 * CLIP_BANDWIDTH**2))


def mmd_across_captions(
    drawn: np.ndarray, real: np.ndarray, kernel: Kernel = polynomial
) -> tuple[float, np.ndarray]:
    """Compute the squared MMD for captions that are themselves a random sample.

    Only pairs of different captions count, so one image per caption is enough, and the estimate is
    unbiased (the U-statistic of Gretton et al., 2012, eq. 4, with captions as samples).

    Args:
        drawn: (captions, n, d) features of drawn images.
        real: (captions, m, d) features of real images.
        kernel: A symmetric kernel.

    Returns:
        The same as `mmd_by_caption`; both NaN for a single caption.
    """
    between = _means_between(drawn, real, kernel)
    within = _means_within(drawn, kernel) + _means_within(real, kernel)
    gaps = within - between - between.T
    np.fill_diagonal(gaps, 0.0)
    count = len(gaps)
    if count < 2:
        return float("nan"), np.full(count, np.nan)
    total = gaps.sum()
    whole = total / (count * (count - 1))
    if count < 3:
        return float(whole), np.full(count, np.nan)
    left = total - gaps.sum(0) - gaps.sum(1)
    without = left / ((count - 1) * (count - 2))
    return float(whole), count * whole - (count - 1) * without


@dataclass(frozen=True, slots=True)
class KernelMeans:
    """Features of captions' images, with the mean `polynomial` kernel of each pair of captions.

    Attributes:
        features: (captions, n, d).
        means: (captions, captions); the diagonal is the mean over pairs of different images.
    """

    features: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> KernelMeans:
        """Compute the means for (captions, n, d) features.

        Raises:
            ValueError: If n < 2.
        """
        n = features.shape[1]
        if n < 2:
            raise ValueError("an unbiased distance needs at least two images per caption")
        means = _means_within(features, polynomial)
        selves = np.array([np.trace(polynomial(rows, rows)) for rows in features])
        own = (np.diag(means) * n * n - selves) / (n * (n - 1))
        means[np.diag_indices_from(means)] = own
        return cls(features, means)


def mmd_by_caption(drawn: KernelMeans, real: KernelMeans) -> tuple[float, np.ndarray]:
    """Compute the squared MMD under `polynomial`, with jackknife pseudo-values per caption.

    The captions are fixed, so images are independent only given their captions. The estimate is
    unbiased in this setting: pairs within a caption (without an image paired with itself; Gretton
    et al., 2012, eq. 3) weigh as much as pairs across captions. For equal distributions the
    expectation is 0 for any number of images, so the estimate can be negative. It is the KID only
    on Inception features.

    Args:
        drawn: Features of drawn images.
        real: Features of real images of the same captions.

    Returns:
        The distance and the pseudo-values, see `jackknife`. A caption is left out on both sides.
    """
    between = _means_between(drawn.features, real.features, polynomial)
    gaps = drawn.means + real.means - 2.0 * between
    return jackknife(lambda kept: float(gaps[np.ix_(kept, kept)].mean()), len(gaps))


def _means_within(features: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Compute `_means_between` of a set with itself, each pair of captions once."""
    means = np.zeros((len(features), len(features)))
    for i in range(len(features)):
        means[i, i:] = _means_between(features[i : i + 1], features[i:], kernel)[0]
    return means + np.triu(means, 1).T


def _means_between(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Compute the mean kernel of each pair of captions: (c, n, d), (c, m, d) -> (c, c)."""
    rows = []
    for x in a:
        values = kernel(x, b.reshape(-1, b.shape[-1])).mean(0)
        rows.append(values.reshape(len(b), -1).mean(1))
    return np.array(rows)
