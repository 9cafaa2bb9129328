"""Boxes: labelled bounding boxes on the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.latents.base import Rect
from pipelines.latents.grammar.items import Numbers
from pipelines.latents.grammar.required import Region
from pipelines.latents.items import LabelledList
from pipelines.latents.overlays import draw_outlines
from pipelines.latents.regions import VISIBLE, move_rect, visible_share
from pipelines.latents.text import GRID


@dataclass(frozen=True, slots=True)
class Box:
    """One object's bounding box.

    Attributes:
        label: Name of the object, any non-empty text.
        x1: Left edge in grid units: 0 is the image's left edge, 1000 its right one.
        y1: Top edge in grid units, growing downwards.
        x2: Right edge, greater than x1.
        y2: Bottom edge, greater than y1.
    """

    label: str
    x1: int
    y1: int
    x2: int
    y2: int


class Boxes(LabelledList[Box]):
    """Labels and positions: ``circle <120><330><410><620> <;> star ...`` (Kaleido, appendix A).

    The paper writes ``(120, 330, 410, 620)`` after each phrase; here each number is one token.
    """

    kind = "boxes"
    version = 1
    item = Box
    max_items = 15  # the paper gives no limit; BlobGEN (2405.08246) has up to 15 blobs

    @classmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Keep corners on the grid, with x2 > x1 and y2 > y1."""
        if len(numbers) < 2:
            return 0, GRID - 1
        return numbers[len(numbers) - 2] + 1, GRID

    @classmethod
    def centre(cls, numbers: Numbers) -> tuple[int, int]:
        """Return the box's centre in half grid units."""
        x1, y1, x2, y2 = numbers
        return x1 + x2, y1 + y2

    @classmethod
    def narrow(cls, numbers: Numbers, region: Region) -> tuple[int, int]:
        """Return the range of the next edge with which the centre can lie in a region."""
        low, high = region[len(numbers) % 2]
        if len(numbers) < 2:
            return low - GRID, (high - 1) // 2
        return low - numbers[len(numbers) - 2], high - numbers[len(numbers) - 2]

    @classmethod
    def rect(cls, numbers: Numbers) -> Rect:
        """Return the box itself."""
        x1, y1, x2, y2 = (value / GRID for value in numbers)
        return x1, y1, x2, y2

    @classmethod
    def crop_item(cls, item: Box, region: Rect) -> Box | None:
        """Clip a box; one of which less than `VISIBLE` remains is dropped."""
        whole = move_rect(cls.rect((item.x1, item.y1, item.x2, item.y2)), region)
        if visible_share(whole) < VISIBLE:
            return None
        left, top, right, bottom = (round(min(max(edge, 0.0), 1.0) * GRID) for edge in whole)
        left, top = min(left, GRID - 1), min(top, GRID - 1)
        return Box(item.label, left, top, max(right, left + 1), max(bottom, top + 1))

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw labelled outlines over an image, uint8 (height, width, 3); return a new array."""
        corners = [
            np.array([(b.x1, b.y1), (b.x2, b.y1), (b.x2, b.y2), (b.x1, b.y2)]) for b in self.items
        ]
        return draw_outlines(image, corners, [box.label for box in self.items])
