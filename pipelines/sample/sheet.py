"""Contact sheets: every sample of a caption in a grid, under the caption."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.sample.draw import Sample

MARGIN = 8
TITLE = 26
MIN_SIDE = 128
"""Small images are enlarged to at least this many pixels, without smoothing."""


def contact_sheet(
    groups: Sequence[tuple[str, Sequence[Sample]]], columns: int | None = None
) -> np.ndarray:
    """Lay out samples, one titled grid a caption.

    Args:
        groups: Captions with their samples; at least one sample in all.
        columns: Samples in a row; None makes the grids about square.

    Returns:
        uint8 (height, width, 3).
    """
    columns = columns or _columns(max(len(samples) for _, samples in groups))
    scale = max(1, ceil(MIN_SIDE / groups[0][1][0].pixels.shape[0]))
    side = groups[0][1][0].pixels.shape[0] * scale
    width = MARGIN + columns * (side + MARGIN)
    rows = [ceil(len(samples) / columns) for _, samples in groups]
    height = sum(TITLE + MARGIN + row * (side + MARGIN) for row in rows)
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    top = 0
    for (caption, samples), row_count in zip(groups, rows, strict=True):
        pen.text((MARGIN, top + 5), _fit(pen, font, caption, width), (40, 40, 40), font)
        for index, item in enumerate(samples):
            row, column = divmod(index, columns)
            image = Image.fromarray(item.pixels).resize((side, side), Image.Resampling.NEAREST)
            place = (
                MARGIN + column * (side + MARGIN),
                top + TITLE + MARGIN + row * (side + MARGIN),
            )
            sheet.paste(image, place)
        top += TITLE + MARGIN + row_count * (side + MARGIN)
    return np.asarray(sheet)


def _columns(count: int) -> int:
    return min(8, ceil(sqrt(count)))


def _fit(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    caption: str,
    width: int,
) -> str:
    text = " ".join(caption.split())
    while text and pen.textlength(text, font) > width - 2 * MARGIN:
        text = text[:-2] + "…" if not text.endswith("…") else text[:-2].rstrip("…") + "…"
    return text
