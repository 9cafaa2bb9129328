"""Edge energy: whether pictures are as sharp as real ones."""

from __future__ import annotations

import numpy as np


def edge_energy(images: np.ndarray) -> np.ndarray:
    """Compute the mean squared difference of neighbouring pixels: blur lowers it, noise raises it.

    A detector and its features are robust to slight blur; this number is sensitive to it.

    Args:
        images: uint8 (n, height, width, 3).

    Returns:
        (n,), in units of the full range squared.
    """
    return np.array([_edge_energy(image) for image in images])


def _edge_energy(image: np.ndarray) -> float:
    """Compute it for one picture, (height, width, 3): its floats fit into the CPU cache."""
    x = image.astype(np.float32) / 255.0
    steps = (np.diff(x, axis=axis).ravel() for axis in (0, 1))
    return sum(float(step @ step) / step.size for step in steps)
