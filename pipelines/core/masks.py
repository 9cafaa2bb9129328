"""What a mask covers."""

from __future__ import annotations

import numpy as np


def around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box around a mask (h, w), x1, y1, x2, y2 in pixels; zeros if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def around_in_fractions(mask: np.ndarray) -> tuple[float, float, float, float]:
    """The box of `around`, in fractions of the mask's width and height, from 0 to 1."""
    height, width = mask.shape
    x1, y1, x2, y2 = around(mask)
    return x1 / width, y1 / height, x2 / width, y2 / height
