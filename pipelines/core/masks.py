"""Bounding boxes of masks."""

from __future__ import annotations

import numpy as np


def around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the bounding box of a mask (h, w): x1, y1, x2, y2 in pixels; zeros if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def around_in_fractions(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return the bounding box of a mask in fractions of its width and height, in [0, 1]."""
    height, width = mask.shape
    x1, y1, x2, y2 = around(mask)
    return x1 / width, y1 / height, x2 / width, y2 / height
