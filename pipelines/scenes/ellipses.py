"""Fit ellipses to the objects that the judge found.

The judge predicts each object's box and colour, and the background. Within the box, a pixel
belongs to the object if it is nearer to the object's colours than to those of the background and
of other objects. The ellipse with the greatest IoU with these pixels is fitted, as a blob of z is
fitted to a detector's mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.extract.ellipse import fit_ellipses
from pipelines.latents.text import GRID
from pipelines.models.pixels import to_pixels, to_square_tensor
from pipelines.scenes.draw import RGB, background_pixels, pale

SIDE = 64
"""Side in pixels at which objects are segmented: the judge's input size."""

MARGIN = 30
"""How far an object may extend beyond the judge's box, in grid units (two pixels)."""


def with_ellipses(images: np.ndarray, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Add an ellipse to each object that has pixels of its colour.

    Args:
        images: uint8 (n, height, width, 3).
        verdicts: One verdict per picture.
    """
    pictures = to_pixels(to_square_tensor(images, SIDE)).astype(np.float32)
    masks = [_masks(*pair) for pair in zip(pictures, verdicts, strict=True)]
    seen = [each[each.any((1, 2))] for each in masks]
    fits = iter(fit_ellipses(np.concatenate(seen)).tolist())
    return [
        replace(
            verdict,
            objects=tuple(
                replace(item, ellipse=_on_grid(next(fits))) if mask.any() else item
                for item, mask in zip(verdict.objects, each, strict=True)
            ),
        )
        for verdict, each in zip(verdicts, masks, strict=True)
    ]


def _masks(pixels: np.ndarray, verdict: Verdict) -> np.ndarray:
    """Segment the objects into disjoint masks: bool (objects, SIDE, SIDE).

    Args:
        pixels: float32 (SIDE, SIDE, 3), from 0 to 255.
        verdict: The judge's verdict on the picture.
    """
    distances = [np.square(pixels - background_pixels(verdict.background, SIDE)).sum(-1)]
    distances += [_distances(pixels, item) for item in verdict.objects]
    owners = np.argmin(distances, axis=0)
    return owners == np.arange(1, len(distances))[:, None, None]


def _distances(pixels: np.ndarray, item: FoundObject) -> np.ndarray:
    """Return each pixel's squared distance to the object's nearest colour; outside, infinity."""
    colour = np.array(RGB[item.attributes["colour"]], np.float32)
    colours = [colour, pale(colour)] if item.attributes["texture"] == "striped" else [colour]
    nearest = np.min([np.square(pixels - each).sum(-1) for each in colours], axis=0)
    x1, y1, x2, y2 = item.box
    places = (np.arange(SIDE) + 0.5) * GRID / SIDE
    across = np.abs(2.0 * places - x1 - x2) / (x2 - x1 + 2.0 * MARGIN)
    down = np.abs(2.0 * places - y1 - y2) / (y2 - y1 + 2.0 * MARGIN)
    reach = np.maximum(across, down[:, None])
    # Adding the reach assigns a pixel between two objects of one colour to the nearer centre.
    return np.where(reach <= 1.0, nearest + reach, np.inf)


def _on_grid(ellipse: Sequence[float]) -> tuple[float, ...]:
    """Convert an ellipse of `fit_ellipses` from pixels to grid units, rounded to a tenth."""
    lengths = [value * GRID / SIDE for value in ellipse[:4]]
    return tuple(round(value, 1) for value in (*lengths, ellipse[4]))
