"""Lay out pictures in titled grids."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.batches import in_batches

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

MARGIN = 8
TITLE = 26
MIN_SIDE = 128
"""Smaller pictures are enlarged to at least this many pixels, without smoothing."""

MAX_SIDE = 512
"""Larger pictures are reduced to this many pixels."""


def contact_sheet(
    groups: Sequence[tuple[str, Sequence[np.ndarray]]], columns: int | None = None, across: int = 1
) -> np.ndarray:
    """Lay out pictures, one titled grid per group.

    Args:
        groups: Titles with their pictures, uint8 (height, width, 3); at least one picture in total.
        columns: Pictures per row of a group; None makes the grids about square.
        across: Groups side by side.

    Returns:
        uint8 (height, width, 3).
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = columns or _columns(max(len(pictures) for _, pictures in groups))
    longest = max(max(each.shape[:2]) for _, pictures in groups for each in pictures)
    side = min(longest * ceil(MIN_SIDE / longest), MAX_SIDE)
    width = MARGIN + columns * (side + MARGIN)
    bands = list(in_batches(groups, across))
    rows = [max(ceil(len(pictures) / columns) for _, pictures in band) for band in bands]
    heights = [TITLE + MARGIN + count * (side + MARGIN) for count in rows]
    size = width * min(across, len(groups)), sum(heights)
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    top = 0
    for band, height in zip(bands, heights, strict=True):
        for place, (title, pictures) in enumerate(band):
            left = place * width + MARGIN
            line = fit_text(" ".join(title.split()), pen, font, width - 2 * MARGIN)
            pen.text((left, top + 5), line, (40, 40, 40), font)
            for index, pixels in enumerate(pictures):
                row, column = divmod(index, columns)
                x = left + column * (side + MARGIN)
                y = top + TITLE + MARGIN + row * (side + MARGIN)
                sheet.paste(_fit_side(pixels, side), (x, y))
        top += height
    return np.asarray(sheet)


def enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """Enlarge a picture by an integer factor, without smoothing, to at least `side` pixels."""
    times = ceil(side / max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def fit_text(
    text: str,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: float,
) -> str:
    """Shorten a line to at most `width` pixels; an ellipsis marks the cut."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def _columns(count: int) -> int:
    return min(8, ceil(sqrt(count)))


def _fit_side(pixels: np.ndarray, side: int) -> Image.Image:
    """Scale a picture so that its longer side has `side` pixels."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resample = Image.Resampling.NEAREST if scale >= 1.0 else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize(size, resample)
