"""Feature spaces without a network: a colour histogram, and the picture at 8 by 8 pixels.

They do not represent objects. A difference that shows in a network's features and in these is not
an artefact of the network.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

BINS = 4
SIDE = 8
SPACES = {"histogram": f"colour-histogram-{BINS}x{BINS}x{BINS}", "pixels": f"pixels-{SIDE}x{SIDE}"}
"""Short name in metrics -> full name of the space."""

_GREY = 127.3
"""Middle of the pixel range. No mean of integer pixels equals it, so no feature vector is zero."""


def plain_features(images: np.ndarray) -> np.ndarray:
    """Compute features of pictures without a network.

    Args:
        images: uint8 (n, height, width, 3).

    Returns:
        float32 (n, BINS³ + 3 SIDE²): square roots of the shares of RGB bins, whose inner product
        is the Bhattacharyya coefficient, then the pixels at SIDE by SIDE, about -1 to 1. See
        `split`.
    """
    rows = [np.concatenate([_histogram(image), _thumbnail(image)]) for image in images]
    return np.array(rows, np.float32).reshape(len(images), BINS**3 + 3 * SIDE**2)


def split(features: np.ndarray) -> dict[str, np.ndarray]:
    """Split `plain_features` (..., d) into the spaces of `SPACES`."""
    return {"histogram": features[..., : BINS**3], "pixels": features[..., BINS**3 :]}


def _histogram(image: np.ndarray) -> np.ndarray:
    levels = (image.reshape(-1, 3) // (256 // BINS)).astype(int)
    counts = np.bincount(np.ravel_multi_index(tuple(levels.T), (BINS,) * 3), minlength=BINS**3)
    return np.sqrt(counts / counts.sum())


def _thumbnail(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return (np.asarray(small, np.float64).ravel() - _GREY) / 128.0
