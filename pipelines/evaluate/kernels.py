"""Kernel distance: how far two sets of images lie apart, Gaussian or not."""

from __future__ import annotations

import numpy as np


def polynomial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KID's kernel, ``(x·y / d + 1)³`` (1801.01401, section 3), of all pairs: (n, d), (m, d)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def mmd_by_caption(drawn: np.ndarray, real: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared maximum mean discrepancy under `polynomial`, with each caption's pseudo-value.

    The unbiased estimate (Gretton et al., 2012, eq. 3): its expectation does not depend on the
    number of images, and for equal distributions it is 0, so it can be negative. On Inception's
    features it is the KID; on any other it is not. Sums are kept a pair of captions, so that no
    kernel matrix of all images is held, and leaving out a caption costs nothing.

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
    sums = [_sums(drawn, drawn), _sums(real, real), _sums(drawn, real)]
    sizes = drawn.shape[1], real.shape[1]
    count = len(drawn)
    everyone = np.ones(count, dtype=bool)
    whole = _estimate(sums, everyone, sizes)
    if count < 2:
        return whole, np.full(count, np.nan)
    without = np.array([_estimate(sums, np.arange(count) != i, sizes) for i in range(count)])
    return whole, count * whole - (count - 1) * without


def _sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum the kernel over each pair of captions, an image with itself left out: (c, c)."""
    out = np.array([[polynomial(x, y).sum() for y in b] for x in a])
    if a is b:
        out -= np.diag([np.trace(polynomial(x, x)) for x in a])
    return out


def _estimate(sums: list[np.ndarray], kept: np.ndarray, sizes: tuple[int, int]) -> float:
    within_drawn, within_real, between = (table[np.ix_(kept, kept)].sum() for table in sums)
    n, m = (kept.sum() * size for size in sizes)
    return float(
        within_drawn / (n * (n - 1)) + within_real / (m * (m - 1)) - 2.0 * between / (n * m)
    )
