"""Drawings of latents over images, for inspection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.contact_sheet import fit_text
from pipelines.latents.oklab import oklab_to_srgb
from pipelines.latents.text import GRID

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLOURS = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (145, 30, 180),
    (245, 130, 48),
    (0, 128, 128),
    (128, 0, 0),
    (0, 0, 117),
)
"""Outline colours, used in turn; all dark enough for white text."""


def draw_outlines(
    image: np.ndarray, outlines: Sequence[np.ndarray], labels: Sequence[str]
) -> np.ndarray:
    """Draw closed outlines with their labels.

    Args:
        image: uint8 (height, width, 3); not modified.
        outlines: Points of each outline, (n, 2), x and y in grid units.
        labels: One per outline.

    Returns:
        A new array of the same shape.
    """
    canvas, draw, font = _canvas(image)
    limits = np.array([canvas.width - 1, canvas.height - 1])
    line = max(1, round(min(canvas.size) / 160))
    drawn = [np.clip(points * (limits + 1) / GRID, 0, limits) for points in outlines]
    for index, points in enumerate(drawn):
        corners = [tuple(point) for point in np.rint(points).tolist()]
        draw.line([*corners, corners[0]], fill=COLOURS[index % len(COLOURS)], width=line)
    # Labels are drawn last, so that no outline crosses them.
    for index, (points, label) in enumerate(zip(drawn, labels, strict=True)):
        left, top = points.min(axis=0)
        _draw_label(draw, font, canvas.size, (left, top), label, COLOURS[index % len(COLOURS)])
    return np.array(canvas)


def draw_swatches(image: np.ndarray, colours: Sequence[tuple[str, float]]) -> np.ndarray:
    """Draw a strip of colours along the lower edge.

    Args:
        image: uint8 (height, width, 3); not modified.
        colours: ``#rrggbb`` and share; shares sum to 1. Swatches that are wide enough show their
            hexadecimal code.

    Returns:
        A new array of the same shape.
    """
    canvas, draw, font = _canvas(image)
    top = canvas.height - max(1, canvas.height // 8)
    edges = np.rint(np.cumsum([0.0, *(share for _, share in colours)]) * canvas.width)
    for (colour, _), left, right in zip(colours, edges, edges[1:], strict=False):
        if right <= left:
            continue
        draw.rectangle([left, top, right - 1, canvas.height - 1], fill=colour)
        name_width, name_height = draw.textbbox((0, 0), colour, font=font)[2:]
        if name_width < right - left and name_height < canvas.height - top:
            ink = "black" if sum(bytes.fromhex(colour[1:])) > 384 else "white"
            middle = ((left + right) / 2, (top + canvas.height) / 2)
            draw.text(middle, colour, fill=ink, font=font, anchor="mm")
    draw.line([(0, top), (canvas.width, top)], fill="white")
    return np.array(canvas)


def draw_legend(image: np.ndarray, rows: Sequence[tuple[str, Sequence[str]]]) -> np.ndarray:
    """Draw labels with their colours along the left edge, from the top.

    Args:
        image: uint8 (height, width, 3); not modified.
        rows: Label and its colours, ``#rrggbb``. Rows that do not fit are left out.

    Returns:
        A new array of the same shape.
    """
    canvas, draw, font = _canvas(image)
    pitch = round(draw.textbbox((0, 0), "Ay", font=font)[3]) + 2
    for index, (label, colours) in enumerate(rows[: canvas.height // pitch]):
        top = index * pitch
        for place, colour in enumerate(colours):
            left = place * pitch
            draw.rectangle([left, top, left + pitch - 1, top + pitch - 1], colour, "white")
        left = len(colours) * pitch
        text = fit_text(_printable(label[:80]), draw, font, canvas.width - left - 2)
        right = left + draw.textlength(text, font=font) + 1
        draw.rectangle([left, top, right, top + pitch - 1], fill="black")
        draw.text((left + 1, top), text, fill="white", font=font)
    return np.array(canvas)


def draw_text(image: np.ndarray, text: str) -> np.ndarray:
    """Write wrapped text over the lower part of an image, at most half of its height.

    Args:
        image: uint8 (height, width, 3); not modified.
        text: Words with single spaces; text that does not fit is cut off with an ellipsis.

    Returns:
        A new array of the same shape.
    """
    canvas, draw, font = _canvas(image)
    pitch = round(draw.textbbox((0, 0), "Ay", font=font)[3]) + 1
    lines = _wrap(
        _printable(text), draw, font, canvas.width - 2, max(1, canvas.height // 2 // pitch)
    )
    top = max(0, canvas.height - pitch * len(lines) - 1)
    ground = canvas.crop((0, top, canvas.width, canvas.height))
    canvas.paste(ground.point(lambda level: level // 4), (0, top))
    for index, line in enumerate(lines):
        draw.text((1, top + pitch * index), line, fill="white", font=font)
    return np.array(canvas)


def draw_cells(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Fill an image with a grid of cells, one colour per id.

    Args:
        image: uint8 (height, width, 3); only its shape is used.
        ids: Integers (rows, columns), at least 0.

    Returns:
        A new array of the same shape.
    """
    # Hue and lightness follow Roberts' R2 sequence, which spreads ids evenly over all colours and
    # gives neighbouring ids different ones.
    hue, lightness = 2 * np.pi * (ids * 0.7548776662 % 1), 0.4 + 0.45 * (ids * 0.5698402910 % 1)
    lab = np.stack([lightness, 0.12 * np.cos(hue), 0.12 * np.sin(hue)], axis=-1)
    cells = np.rint(oklab_to_srgb(lab) * 255).astype(np.uint8)
    height, width = image.shape[:2]
    rows = np.arange(height) * len(ids) // height
    columns = np.arange(width) * ids.shape[1] // width
    covered: np.ndarray = cells[rows[:, None], columns]
    return covered


def _canvas(image: np.ndarray) -> tuple[Image.Image, ImageDraw.ImageDraw, Font]:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(image.copy())
    # The built-in typeface is illegible below nine pixels.
    font = ImageFont.load_default(size=max(9, round(min(canvas.size) / 32)))
    return canvas, ImageDraw.Draw(canvas), font


def _draw_label(
    draw: ImageDraw.ImageDraw,
    font: Font,
    size: tuple[int, int],
    corner: tuple[float, float],
    label: str,
    colour: tuple[int, int, int],
) -> None:
    """Write the label on a filled rectangle inside the image, above its corner if it fits."""
    text = fit_text(_printable(label[:80]), draw, font, size[0] - 2)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 2, bottom - top + 2
    x = round(min(max(0, corner[0]), max(0, size[0] - width)))
    y = round(corner[1]) - height
    if y < 0:
        y = round(min(corner[1], max(0, size[1] - height)))
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=colour)
    draw.text((x + 1 - left, y + 1 - top), text, fill="white", font=font)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _wrap(text: str, draw: ImageDraw.ImageDraw, font: Font, width: int, most: int) -> list[str]:
    """Break text into at most `most` lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        # Joined with the next line the last one is too wide, so `fit_text` ends it in an ellipsis.
        lines[most - 1 :] = [" ".join(lines[most - 1 : most + 1])]
    return [fit_text(line, draw, font, width) for line in lines]
