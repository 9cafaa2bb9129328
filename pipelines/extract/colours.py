"""Colours of elements: the main colours inside each mask or, without masks, each box.

A box also shows what is behind its object. Of a box, therefore, only the inscribed ellipse counts,
and colours that also surround the box count less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome
from pipelines.extract.detection import NOTHING
from pipelines.extract.detectors.base import Detections
from pipelines.extract.palette import main_colours
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.oklab import oklab_to_hex, srgb_to_oklab

CLUSTERS = 4
"""Colours that are told apart inside an element; z keeps the first two."""

LEAST = 0.2
"""Least share of a second colour. Antialiased edges of small objects have less."""

SAMPLES = 64
"""Points along each side of a box at which pixels are read."""

ALIKE = 0.1
"""OKLab distance below which a colour around a box is one of those inside."""


def find_colours(found: Sequence[Detections], records: Sequence[Record]) -> list[Outcome]:
    """Return the colours of each record's objects, in the order of its detections."""
    return [
        Ok(to_colours(detections, record.pixels)) if detections.labels else NOTHING
        for detections, record in zip(found, records, strict=True)
    ]


def to_colours(found: Detections, pixels: np.ndarray) -> Colours:
    """Measure the colours of at least one object; an empty mask gives way to the box.

    Args:
        found: The objects. Masks may have any size over the picture.
        pixels: uint8 (height, width, 3).
    """
    items = []
    for index, label in enumerate(found.labels):
        mask = None if found.masks is None else found.masks[index] >= 0.5
        if mask is not None and mask.any():
            colours = colours_in_mask(pixels, mask)
        else:
            height, width = pixels.shape[:2]
            x1, y1, x2, y2 = found.boxes[index].tolist()
            colours = colours_in_box(pixels, (x1 / width, y1 / height, x2 / width, y2 / height))
        items.append(ElementColours.from_hex(label, *colours[:2]))
    return Colours(tuple(items))


def colours_in_mask(pixels: np.ndarray, mask: np.ndarray) -> list[str]:
    """Return the main colours inside a mask as ``#rrggbb``, the most frequent first.

    Args:
        pixels: uint8 (height, width, 3).
        mask: bool, of any size over the picture, not empty.
    """
    rows, columns = np.nonzero(mask)
    points = np.stack([(columns + 0.5) / mask.shape[1], (rows + 0.5) / mask.shape[0]], axis=1)
    lab, shares = main_colours(_at(pixels, points), CLUSTERS)
    return _listed(lab, shares)


def colours_in_box(pixels: np.ndarray, box: tuple[float, float, float, float]) -> list[str]:
    """Return the main colours of what a box holds as ``#rrggbb``.

    Args:
        pixels: uint8 (height, width, 3).
        box: Left, top, right and bottom in fractions of the picture.
    """
    side = (np.arange(SAMPLES) + 0.5) / SAMPLES * 2 - 1
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2
    lab, shares = main_colours(_at(pixels, middle + half * grid[(grid**2).sum(1) <= 1]), CLUSTERS)
    edge = 1.2 * grid[np.abs(grid).max(1) > 1 - 2 / SAMPLES]  # a frame just outside of the box
    around = srgb_to_oklab(_at(pixels, middle + half * edge) / 255.0)
    gaps = np.linalg.norm(around[:, None] - lab, axis=2)
    outside = ((gaps < ALIKE) & (gaps == gaps.min(1, keepdims=True))).mean(0)
    return _listed(lab, np.maximum(shares - outside, 0.01 * shares))


def _at(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Read pixels, uint8 (n, 3), at points (n, 2) in fractions; points outside read the edge."""
    height, width = pixels.shape[:2]
    columns = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return np.asarray(pixels[rows, columns])


def _listed(lab: np.ndarray, shares: np.ndarray) -> list[str]:
    """Sort colours by share, and drop the rare ones."""
    shares = shares / shares.sum()
    order = sorted(range(len(lab)), key=lambda i: (-shares[i], *lab[i]))
    return [oklab_to_hex(lab[i]) for i in order if i == order[0] or shares[i] >= LEAST]
