"""Diversity: how much the samples of one caption differ, in a named feature space."""

from __future__ import annotations

import numpy as np

from pipelines.plan.spread import effective_number


def unit(features: np.ndarray) -> np.ndarray:
    """Scale (..., d) to length 1, in float64.

    Raises:
        ValueError: If a row is zero or not finite and so has no direction.
    """
    rows = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0.0).any():
        raise ValueError("features must be finite and not zero")
    return rows / lengths


def cosine_matrix(features: np.ndarray) -> np.ndarray:
    """Compute the cosine similarity of every pair: (n, d) -> (n, n), float64, with diagonal 1.

    Raises:
        ValueError: If a row is zero or not finite.
    """
    rows = unit(features)
    matrix = np.clip(rows @ rows.T, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def mss(features: np.ndarray) -> float:
    """Compute the mean similarity score of one caption's samples (after CADS, 2310.17347).

    The mean of the cosine matrix *without its diagonal*, over all ordered pairs of different
    samples, so that it does not depend on n; with the diagonal it would be
    ``(1 + (n - 1) mss) / n``. Lower is more diverse; 1 means that all samples are equal.

    Args:
        features: (n, d), n >= 2.

    Raises:
        ValueError: For fewer than two samples, or features without a direction.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"a similarity needs at least two samples, got {n}")
    return float((cosine_matrix(features).sum() - n) / (n * (n - 1)))


def vendi(features: np.ndarray, order: float = 1.0) -> float:
    """Compute the Vendi score (2210.02410) of one caption's samples: their effective number.

    The exponential of the Rényi entropy of K / n, with K the cosine matrix; order 1 is the von
    Neumann entropy, ``exp(-Σ λ log λ)``. It lies between 1 (all equal) and n (all orthogonal) and
    grows with n, so compare only equal n.

    Args:
        features: (n, d), n >= 1.
        order: q >= 0 of "Cousins of the Vendi score" (2310.12952, eq. 3). Small orders weigh rare
            and common samples nearly equally; infinity gives 1 over the share of the most common.

    Raises:
        ValueError: For no samples, or features without a direction.
    """
    if not len(features):
        raise ValueError("a Vendi score needs at least one sample")
    kernel = cosine_matrix(features)
    if order == 1.0:
        return effective_number(kernel)
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    if np.isinf(order):
        return float(1.0 / values.max())
    return float((values**order).sum() ** (1.0 / (1.0 - order)))
