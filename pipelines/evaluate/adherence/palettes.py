"""Measure whether a picture has the colours of its palette, from pixels and without a judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.latents.oklab import srgb_to_oklab
from pipelines.latents.palette import Palette
from pipelines.latents.text import GRID


class PaletteFit(NamedTuple):
    """The distance between a picture and a palette.

    Attributes:
        distance: Mean OKLab distance from a pixel to the palette's nearest colour.
        shares: Total variation, from 0 to 1, between the palette's weights and the shares of
            pixels nearest to each of its colours.
    """

    distance: float
    shares: float


NOTHING = PaletteFit(float("nan"), float("nan"))


def palette_fit(palette: Palette, pixels: np.ndarray) -> PaletteFit:
    """Compare a palette with a picture.

    Args:
        palette: A palette of at least one colour.
        pixels: uint8 (height, width, 3).
    """
    return _fit(palette, _oklab(pixels))


def _oklab(pixels: np.ndarray) -> np.ndarray:
    return srgb_to_oklab(pixels.reshape(-1, 3) / 255.0)


def _fit(palette: Palette, lab: np.ndarray) -> PaletteFit:
    colours = np.stack([colour.oklab for colour in palette.items])
    distances = np.linalg.norm(lab[:, None] - colours, axis=-1)
    shares = np.bincount(distances.argmin(1), minlength=len(colours)) / len(lab)
    weights = np.array([colour.weight for colour in palette.items]) / GRID
    return PaletteFit(float(distances.min(1).mean()), float(np.abs(shares - weights).sum() / 2.0))


def palette_fits(texts: Sequence[str], images: np.ndarray, others: Sequence[str]) -> np.ndarray:
    """Compare pictures with the palettes of z.

    Args:
        texts: The z of each picture; results are NaN where z has no palette.
        images: uint8 (n, height, width, 3).
        others: As many z of another caption, or none.

    Returns:
        float (n, 6): `PaletteFit` for the picture's own z and, as controls, for the z of the next
        picture and of the other caption.
    """
    own = [latent_of(text, Palette) for text in texts]
    following = [*own[1:], *own[:1]] if len(own) > 1 else [None]
    another = [latent_of(text, Palette) for text in others] or [None] * len(own)
    rows = []
    for image, *palettes in zip(images, own, following, another, strict=True):
        if any(palettes):
            lab = _oklab(image)
            rows.append([_fit(p, lab) if p else NOTHING for p in palettes])
        else:  # a baseline has no palettes: skip the colour conversion
            rows.append([NOTHING] * len(palettes))
    return np.array(rows).reshape(len(rows), -1)
