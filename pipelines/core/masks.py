"""Masks: their bounding boxes, and run lengths as in COCO."""

from __future__ import annotations

from collections.abc import Sequence

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


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return row-major run lengths of a mask, starting with the zeros.

    COCO's are column-major, which are those of the transposed mask.
    """
    flat = np.concatenate([[0], mask.ravel().astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return [int(run) for run in runs]


def pixels_of_runs(
    counts: Sequence[int], size: tuple[int, int], xs: np.ndarray, ys: np.ndarray
) -> np.ndarray:
    """Read the pixels of a mask in run lengths, without unpacking it.

    Time and memory depend on the pixels that are read, and not on the mask's size.

    Args:
        counts: Column-major run lengths that start with the zeros and sum to the size.
        size: Height and width of the mask.
        xs: Columns to read, as fractions of the width, (w,); outside of [0, 1) there is nothing.
        ys: Rows to read, as fractions of the height, (h,).

    Returns:
        bool (h, w).
    """
    height, width = size
    rows, columns = np.floor(ys * height).astype(np.int64), np.floor(xs * width).astype(np.int64)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    places = np.clip(columns, 0, width - 1) * height + np.clip(rows, 0, height - 1)[:, None]
    ends = np.cumsum(np.asarray(counts, np.int64))
    return np.asarray(inside & (np.searchsorted(ends, places, side="right") % 2 == 1))
