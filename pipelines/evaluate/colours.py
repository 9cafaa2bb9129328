"""Whether a picture has the colours of its palette. No judge is needed: pixels are colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.latents.base import GRID, LatentError
from pipelines.latents.oklab import srgb_to_oklab
from pipelines.latents.palette import Palette
from pipelines.latents.sequence import z_from_text


class PaletteFit(NamedTuple):
    """How far a picture is from a palette.

    Attributes:
        distance: Mean OKLab distance of a pixel to the palette's nearest colour.
        shares: Total variation, from 0 to 1, between the palette's weights and the shares of
            pixels that are nearest to each of its colours.
    """

    distance: float
    shares: float


NOTHING = PaletteFit(float("nan"), float("nan"))


def palette_fit(palette: Palette, pixels: np.ndarray) -> PaletteFit:
    """Compare a palette with a picture.

    Args:
        palette: Of one colour or more.
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


def palette_fits(texts: Sequence[str], images: np.ndarray) -> np.ndarray:
    """Compare pictures with the palettes of z.

    Args:
        texts: The z of each picture; NaN stands where it has no palette.
        images: uint8 (n, height, width, 3).

    Returns:
        float (n, 4): `PaletteFit` with the picture's own z, and, as a control, with the z of the
        next picture.
    """
    palettes = [_palette(text) for text in texts]
    rows = []
    for image, own, following in zip(images, palettes, [*palettes[1:], *palettes[:1]], strict=True):
        if own or following:
            lab = _oklab(image)
            rows.append([_fit(p, lab) if p else NOTHING for p in (own, following)])
        else:  # real pictures, a baseline's: their colours need not be converted
            rows.append([NOTHING, NOTHING])
    return np.array(rows).reshape(len(rows), -1)


def _palette(text: str) -> Palette | None:
    try:
        palette = z_from_text(text).get("palette") if text else None
    except LatentError:
        return None
    return palette if isinstance(palette, Palette) and palette.items else None
