"""Rectangles in fractions of a picture's sides, seen from a part of the picture."""

from __future__ import annotations

from pipelines.latents.base import Rect

VISIBLE = 0.25
"""Least share of an object's box that remains after a crop; other objects are dropped."""


def move_rect(rect: Rect, region: Rect) -> Rect:
    """Return a rectangle in fractions of the sides of a part of the picture; it may be larger."""
    left, top, right, bottom = region
    across, down = right - left, bottom - top
    return (
        (rect[0] - left) / across,
        (rect[1] - top) / down,
        (rect[2] - left) / across,
        (rect[3] - top) / down,
    )


def visible_share(rect: Rect) -> float:
    """Return the share of a rectangle's area that lies within the picture."""
    sides = [min(high, 1.0) - max(low, 0.0) for low, high in zip(rect[:2], rect[2:], strict=True)]
    area = (rect[2] - rect[0]) * (rect[3] - rect[1])
    return max(sides[0], 0.0) * max(sides[1], 0.0) / area
