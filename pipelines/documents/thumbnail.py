"""Draw a document as a thumbnail, to compare layouts at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.contact_sheet import fit_text
from pipelines.documents.document import Document
from pipelines.documents.element import Element, Ellipse
from pipelines.latents.overlays import COLOURS

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

PAPER = (250, 250, 248)
STRIP = 0.06
"""Height of the palette at the lower edge, as a fraction of the picture's height."""


def thumbnail(document: Document, side: int = 256) -> np.ndarray:
    """Draw elements from back to front, and the palette along the lower edge.

    An element is filled with its first colour or, without colours, with one of a fixed series.

    Args:
        document: The document.
        side: Longer side in pixels; the aspect ratio is the picture's, or square if unknown.

    Returns:
        uint8 (height, width, 3).
    """
    from PIL import Image, ImageDraw, ImageFont

    size = document.image
    ratio = 1.0 if size is None else size.width / size.height
    width, height = (side, round(side / ratio)) if ratio >= 1 else (round(side * ratio), side)
    canvas = Image.new("RGB", (max(8, width), max(8, height)), PAPER)
    font = ImageFont.load_default(size=max(8, side / 18))
    for index, element in enumerate(document.elements or ()):
        colour = _colour(element, index)
        canvas = _filled(canvas, element, colour)
        _write(ImageDraw.Draw(canvas), font, element, canvas.size)
    _strip(ImageDraw.Draw(canvas), document, canvas.size)
    return np.asarray(canvas)


def _colour(element: Element, index: int) -> tuple[int, int, int]:
    if element.colours:
        return _rgb(element.colours[0])
    return COLOURS[index % len(COLOURS)]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _filled(canvas: Image.Image, element: Element, colour: tuple[int, int, int]) -> Image.Image:
    """Blend the element's shape over the canvas, with an outline."""
    from PIL import Image, ImageDraw

    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    outline = _outline(element, canvas.width / canvas.height)
    if outline is None:
        return canvas
    scale = canvas.size
    corners = [(x * scale[0], y * scale[1]) for x, y in outline]
    given = bool(element.colours)
    pen.polygon(corners, fill=(*colour, 200 if given else 90), outline=(*colour, 255))
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")


def _outline(element: Element, ratio: float) -> Sequence[tuple[float, float]] | None:
    if element.mask is not None and element.mask.polygons:
        flat = element.mask.polygons[0]
        return list(zip(flat[::2], flat[1::2], strict=True))
    if element.ellipse is not None:
        return _ellipse(element.ellipse, ratio)
    if element.box is not None:
        x1, y1, x2, y2 = element.box
        return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return None


def _ellipse(ellipse: Ellipse, ratio: float, points: int = 48) -> list[tuple[float, float]]:
    """Return points as fractions of both sides; half-axes are fractions of the width."""
    turn = math.radians(ellipse.angle)
    outline = []
    for step in range(points):
        along = ellipse.major * math.cos(2 * math.pi * step / points)
        across = ellipse.minor * math.sin(2 * math.pi * step / points)
        x = along * math.cos(turn) - across * math.sin(turn)
        y = along * math.sin(turn) + across * math.cos(turn)
        outline.append((ellipse.x + x, ellipse.y + y * ratio))
    return outline


def _write(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    element: Element,
    size: tuple[int, int],
) -> None:
    """Write the element's label at the upper left corner of its shape."""
    outline = _outline(element, size[0] / size[1])
    if outline is None:
        return
    left = max(0.0, min(x for x, _ in outline)) * size[0] + 2
    top = max(0.0, min(y for _, y in outline)) * size[1] + 1
    words = element.text or element.label or element.description or ""
    line = fit_text(" ".join(words.split()), pen, font, max(12.0, size[0] - left - 2))
    # A light outline keeps the text readable on any background.
    pen.text((left, top), line, (20, 20, 20), font, stroke_width=1, stroke_fill=(255, 255, 255))


def _strip(pen: ImageDraw.ImageDraw, document: Document, size: tuple[int, int]) -> None:
    swatches = document.palette or ()
    if not swatches:
        return
    weights = [swatch.weight or 1 for swatch in swatches]
    top, left = size[1] * (1 - STRIP), 0.0
    for swatch, weight in zip(swatches, weights, strict=True):
        right = left + size[0] * weight / sum(weights)
        pen.rectangle((left, top, right, size[1]), fill=_rgb(swatch.hex))
        left = right
