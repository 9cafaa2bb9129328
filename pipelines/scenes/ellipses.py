"""The ellipses of the objects that the judge found.

The judge says where an object stands, of which colour it is, and on which background. Within its
box a pixel is the object's if it is nearer to the object's colours than to those of the background
and of other objects there. The ellipse of greatest IoU with these pixels is the object's, as that
with a detector's mask is a blob of z.
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
"""Pixels a side on which objects are cut out: the judge's own."""

MARGIN = 30
"""Grid units, two pixels: so far may an object reach beyond the judge's box."""


def with_ellipses(images: np.ndarray, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Add an ellipse to each object that has pixels of its colour.

    Args:
        images: uint8 (n, height, width, 3).
        verdicts: The judge's, one a picture.
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
    """The pixels of each object: bool (objects, SIDE, SIDE), none in two of them.

    Args:
        pixels: float32 (SIDE, SIDE, 3), from 0 to 255.
        verdict: The judge's.
    """
    distances = [np.square(pixels - background_pixels(verdict.background, SIDE)).sum(-1)]
    distances += [_distances(pixels, item) for item in verdict.objects]
    owners = np.argmin(distances, axis=0)
    return owners == np.arange(1, len(distances))[:, None, None]


def _distances(pixels: np.ndarray, item: FoundObject) -> np.ndarray:
    """Squared distance of each pixel (SIDE, SIDE) to the object's nearest colour, or infinity."""
    colour = np.array(RGB[item.attributes["colour"]], np.float32)
    colours = [colour, pale(colour)] if item.attributes["texture"] == "striped" else [colour]
    nearest = np.min([np.square(pixels - each).sum(-1) for each in colours], axis=0)
    x1, y1, x2, y2 = item.box
    places = (np.arange(SIDE) + 0.5) * GRID / SIDE
    across = np.abs(2.0 * places - x1 - x2) / (x2 - x1 + 2.0 * MARGIN)
    down = np.abs(2.0 * places - y1 - y2) / (y2 - y1 + 2.0 * MARGIN)
    reach = np.maximum(across, down[:, None])
    # Of two objects of one colour, a pixel is that one's whose middle is nearer.
    return np.where(reach <= 1.0, nearest + reach, np.inf)


def _on_grid(ellipse: Sequence[float]) -> tuple[float, ...]:
    """Bring an ellipse of `fit_ellipses` in pixels to grid units, rounded to a tenth."""
    lengths = [value * GRID / SIDE for value in ellipse[:4]]
    return tuple(round(value, 1) for value in (*lengths, ellipse[4]))
