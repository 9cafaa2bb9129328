"""Palette: an image's main colours, as clusters in OKLab.

The camera-ready paper names colour clusters without a recipe, so this one is ours. It is
deterministic: the first centres are those of k-means++ with the highest probability.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome, Stage, StageSpec
from pipelines.latents.oklab import srgb_to_oklab
from pipelines.latents.palette import Palette

MAX_PIXELS = 128 * 128
"""Larger images are subsampled to about this many pixels; shares then err by less than 0.5 %."""

LEVELS = 16
"""Levels per channel of the cells in which colours are gathered; clusters consist of cells."""

ROUNDS = 30
MIN_SHARE = 0.01
"""A smaller cluster joins its nearest: antialiased edges are not colours of the picture."""

MIN_DISTANCE = 0.05
"""Clusters nearer than this in OKLab are merged; 0.02 is about a just noticeable difference."""


class PaletteStage(Stage):
    """pixels -> `Palette` of at most `colours` colours."""

    def __init__(self, colours: int) -> None:
        self._colours = colours
        self.spec = StageSpec(
            name="palette-oklab", version=1, output="palette", options={"colours": colours}
        )

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Compute each record's palette; every image has one."""
        return [Ok(find_palette(record.pixels, self._colours)) for record in records]


LIGHTNESS = 0.5
"""Weight of lightness differences, below 1 so that shading does not use up the colours."""


def find_palette(pixels: np.ndarray, colours: int) -> Palette:
    """Find the main colours.

    Args:
        pixels: uint8 (h, w, 3), RGB.
        colours: Most clusters, from 1 to `Palette.max_items`.
    """
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / MAX_PIXELS) ** 0.5))
    rgb = pixels[step // 2 :: step, step // 2 :: step].reshape(-1, 3)
    return Palette.from_oklab(*main_colours(rgb, colours))


def main_colours(rgb: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the main colours of some pixels.

    Args:
        rgb: uint8 (n, 3), at least one pixel.
        count: Most colours.

    Returns:
        OKLab (k, 3) and shares (k,), which sum to 1, in no particular order; 1 <= k <= count.
    """
    lab, weights = gather_colours(rgb)
    scale = np.array([LIGHTNESS, 1.0, 1.0])
    centres, shares = cluster(lab * scale, weights, count)
    return centres / scale, shares


def gather_colours(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gather similar pixels: mean OKLab (m, 3) and share of all (m,), which sums to 1."""
    cells = (rgb.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    _, cell, counts = np.unique(cells, return_inverse=True, return_counts=True)
    lab = srgb_to_oklab(rgb / 255.0)
    sums = [np.bincount(cell, lab[:, channel]) for channel in range(3)]
    return np.stack(sums, axis=1) / counts[:, None], counts / len(rgb)


def cluster(points: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster by weighted k-means, then merge small and near clusters.

    Args:
        points: (m, 3).
        weights: (m,), positive, sum to 1.
        count: Most clusters.

    Returns:
        Centres (k, 3) and their weights (k,), 1 <= k <= count.
    """
    centres = _first_centres(points, weights, count)
    owner = np.zeros(0, dtype=np.int64)
    for _ in range(ROUNDS):
        nearest = _distances(points, centres).argmin(1)
        if np.array_equal(nearest, owner):
            break
        owner = nearest
        _, owner = np.unique(owner, return_inverse=True)
        centres = _means(points, weights, owner)
    return _join(centres, np.bincount(owner, weights))


def _first_centres(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Take the heaviest point, then repeatedly the one of the greatest √weight times distance²."""
    chosen = [int(weights.argmax())]
    nearest = _distances(points, points[chosen])[:, 0]
    while len(chosen) < count and nearest.max() > MIN_DISTANCE**2:
        chosen.append(int((np.sqrt(weights) * nearest).argmax()))
        nearest = np.minimum(nearest, _distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (m, k)."""
    return np.square(points[:, None] - centres).sum(2)


def _means(points: np.ndarray, weights: np.ndarray, owner: np.ndarray) -> np.ndarray:
    sums = [np.bincount(owner, weights * points[:, i]) for i in range(points.shape[1])]
    return np.stack(sums, axis=1) / np.bincount(owner, weights)[:, None]


def _join(centres: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge the lightest cluster into its nearest while it is too small or too near another."""
    while len(centres) > 1:
        gaps = np.sqrt(_distances(centres, centres))
        np.fill_diagonal(gaps, np.inf)
        first = int(weights.argmin())
        if weights[first] >= MIN_SHARE:
            first = int(gaps.min(1).argmin())
            if gaps[first].min() >= MIN_DISTANCE:
                break
        second = int(gaps[first].argmin())
        owner = np.arange(len(centres))
        owner[first] = second
        _, owner = np.unique(owner, return_inverse=True)
        centres = _means(centres, weights, owner)
        weights = np.bincount(owner, weights)
    return centres, weights
