"""Match regions one to one by overlap."""

from __future__ import annotations

import numpy as np

IOU = 0.5
"""Least IoU at which two positions match."""


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Compute the IoU of two (x1, y1, x2, y2) boxes; 0 if both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union if union > 0 else 0.0


def best_pairs(overlaps: np.ndarray, least: float = IOU) -> list[tuple[int, int]]:
    """Pair rows with columns, one to one, by descending overlap.

    Args:
        overlaps: (rows, columns), 0 for pairs that are not allowed.
        least: Least overlap of a pair.
    """
    pairs: list[tuple[int, int]] = []
    rows, columns = set(range(overlaps.shape[0])), set(range(overlaps.shape[1]))
    for place in np.argsort(-overlaps, axis=None, kind="stable"):
        row, column = divmod(int(place), overlaps.shape[1])
        if overlaps[row, column] >= least and row in rows and column in columns:
            pairs.append((row, column))
            rows.remove(row)
            columns.remove(column)
    return pairs
