"""Convert boxes and outlines from other units to fractions of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipelines.documents.document import Image
from pipelines.documents.element import MAX_OUTLINE
from pipelines.documents.part import MAX_SIDE, Box
from pipelines.documents.problems import Problem

TOLERANCE = 0.01
"""How far an edge may exceed the picture, as a fraction, since tools round outwards by pixels."""


def image_size(width: Any, height: Any) -> Image | None:
    """Return the size of a picture, or None unless both are positive integers."""
    if all(type(side) is int and 0 < side <= MAX_SIDE for side in (width, height)):
        return Image(width=width, height=height)
    return None


def numbers(value: Any, count: int) -> list[float] | None:
    """Return `count` finite numbers, or None for any other value."""
    if not isinstance(value, list | tuple) or len(value) != count:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
        return None
    found = [float(v) for v in value]
    return found if all(math.isfinite(v) for v in found) else None


def fraction_box(
    edges: Sequence[float], width: float, height: float, path: str
) -> tuple[Box | None, Problem | None]:
    """Convert edges to fractions, clipped to the picture.

    Args:
        edges: Left, top, right, bottom, in the unit of `width` and `height`.
        width: Width of the picture.
        height: Height of the picture.
        path: JSON path for problems.

    Returns:
        The box, or None with a problem: ``reversed``, ``empty`` or ``outside``.
    """
    if not (width > 0 and height > 0):
        return None, Problem(path, "size", "The picture's size is unknown.")
    x1, y1, x2, y2 = edges[0] / width, edges[1] / height, edges[2] / width, edges[3] / height
    if x2 < x1 or y2 < y1:
        return None, Problem(
            path, "reversed", "Its right edge is left of the left one, or its bottom above its top."
        )
    if min(x1, y1) < -TOLERANCE or max(x2, y2) > 1 + TOLERANCE:
        return None, Problem(path, "outside", "It extends outside the picture.")
    x1, y1, x2, y2 = (min(1.0, max(0.0, v)) for v in (x1, y1, x2, y2))
    if not (x1 < x2 and y1 < y2):
        return None, Problem(path, "empty", "It covers no area.")
    return (x1, y1, x2, y2), None


def too_long(outline: Sequence[float], path: str) -> Problem | None:
    """Return a problem if an outline has more points than a document can hold."""
    if len(outline) <= MAX_OUTLINE:
        return None
    why = f"Its outline has more than {MAX_OUTLINE // 2:,} points."
    return Problem(path, "mask", why)


def bounds(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of an outline of x, y pairs."""
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def area(points: Sequence[float]) -> float:
    """Return the area of a polygon of x, y pairs (shoelace formula)."""
    xs, ys = list(points[::2]), list(points[1::2])
    following = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return abs(sum(x * b - a * y for x, y, (a, b) in zip(xs, ys, following, strict=True))) / 2


def pixels(value: float, extent: float) -> float:
    """Convert a fraction to pixels, rounded to hundredths, as usual in annotation files."""
    return round(value * extent, 2)
