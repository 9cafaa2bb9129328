"""Kernel distance: how far two sets of images lie apart, Gaussian or not."""

from __future__ import annotations

import numpy as np


def polynomial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KID's kernel, ``(x·y / d + 1)³`` (1801.01401, section 3), of all pairs: (n, d), (m, d)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def mmd_by_caption(drawn: np.ndarray, real: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared maximum mean discrepancy under `polynomial`, with each caption's pseudo-value.

    The captions are given, not drawn, so the images are independent only given their captions. The
    estimate is unbiased for that: pairs of one caption (an image with itself left out, Gretton et
    al., 2012, eq. 3) weigh as much as pairs of two. For equal distributions its expectation is 0
    whatever the number of images, so it can be negative. On Inception's features it is the KID's
    distance; on any other it is not.

    Args:
        drawn: (captions, n, d) features of drawn images, n of 2 or more.
        real: (captions, m, d) features of real images, m of 2 or more.

    Returns:
        The distance, and (captions,) jackknife pseudo-values ``g θ - (g - 1) θ₋ᵢ``, θ₋ᵢ without
        caption i on either side; NaN for a single caption.

    Raises:
        ValueError: If a caption has fewer than two images.
    """
    if min(drawn.shape[1], real.shape[1]) < 2:
        raise ValueError("an unbiased distance needs two images a caption or more")
    gaps = _means(drawn) + _means(real) - 2.0 * _means_between(drawn, real)
    count = len(gaps)
    whole = float(gaps.mean())
    if count < 2:
        return whole, np.full(count, np.nan)
    everyone = np.arange(count)
    without = np.array([gaps[np.ix_(everyone != i, everyone != i)].mean() for i in everyone])
    return whole, count * whole - (count - 1) * without


def _means(features: np.ndarray) -> np.ndarray:
    """Mean kernel of each pair of captions, over pairs of different images: (c, c)."""
    means = _means_between(features, features)
    n = features.shape[1]
    selves = np.array([np.trace(polynomial(rows, rows)) for rows in features])
    own = (np.diag(means) * n * n - selves) / (n * (n - 1))
    means[np.diag_indices_from(means)] = own
    return means


def _means_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[polynomial(x, y).mean() for y in b] for x in a])
