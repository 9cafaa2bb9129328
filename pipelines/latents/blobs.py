"""Blobs: labelled ellipses on the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.latents.base import Rect
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.latents.grammar.items import Numbers
from pipelines.latents.grammar.required import Region
from pipelines.latents.items import LabelledList
from pipelines.latents.overlays import draw_outlines
from pipelines.latents.regions import VISIBLE, move_rect, visible_share
from pipelines.latents.text import GRID


@dataclass(frozen=True, slots=True)
class Blob:
    """One object's ellipse, in the image stretched to a square.

    So position, extent and bounding box are fractions of the image, of whatever shape it is, and
    both axes share one unit. In a square image the angle is the one that is seen.

    Attributes:
        label: Name of the object, any non-empty text.
        xc: Centre in grid units from the left edge.
        yc: Centre in grid units from the top edge.
        r_major: Semi-major axis in grid units, 1 to 1000; 1000 is the image's side.
        r_minor: Semi-minor axis, 1 to r_major.
        theta: Angle from the x axis to the major axis, whole degrees in [0, 180). The y axis points
            down: the major axis has the direction (cos theta, sin theta), and theta grows
            clockwise.
    """

    label: str
    xc: int
    yc: int
    r_major: int
    r_minor: int
    theta: int

    def outline(self, points: int = 72) -> np.ndarray:
        """Return points on the ellipse: float (points, 2), x and y in grid units."""
        turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
        major, minor = self.r_major * np.cos(turn), self.r_minor * np.sin(turn)
        cos, sin = np.cos(np.radians(self.theta)), np.sin(np.radians(self.theta))
        return np.stack(
            [self.xc + major * cos - minor * sin, self.yc + major * sin + minor * cos], axis=1
        )


class Blobs(LabelledList[Blob]):
    """Position, size, tilt: ``circle <xc><yc><r_major><r_minor><theta> <;> ...`` (appendix A)."""

    kind = "blobs"
    version = 1
    item = Blob
    max_items = 15  # BlobGEN (2405.08246)

    @classmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Keep the centre on the grid, 1 <= r_minor <= r_major <= 1000, and theta < 180."""
        match len(numbers):
            case 0 | 1:
                return 0, GRID
            case 2:
                return 1, GRID
            case 3:
                return 1, numbers[2]
            case _:
                return 0, 179

    @classmethod
    def centre(cls, numbers: Numbers) -> tuple[int, int]:
        """Return the ellipse's centre in half grid units."""
        return 2 * numbers[0], 2 * numbers[1]

    @classmethod
    def narrow(cls, numbers: Numbers, region: Region) -> tuple[int, int] | None:
        """Return the range of the next number with which the centre can lie in a region."""
        if len(numbers) > 1:
            return None
        low, high = region[len(numbers)]
        return -(-low // 2), high // 2

    @classmethod
    def rect(cls, numbers: Numbers) -> Rect:
        """Return the ellipse's bounding box, which may extend beyond the image."""
        xc, yc, major, minor = (value / GRID for value in numbers[:4])
        turn = math.radians(numbers[4])
        half_x = math.hypot(major * math.cos(turn), minor * math.sin(turn))
        half_y = math.hypot(major * math.sin(turn), minor * math.cos(turn))
        return xc - half_x, yc - half_y, xc + half_x, yc + half_y

    @classmethod
    def crop_item(cls, item: Blob, region: Rect) -> Blob | None:
        """Move an ellipse.

        It is dropped where less than `VISIBLE` of its bounding box remains, or its centre is
        outside: an ellipse cannot be clipped.
        """
        across, down = 1.0 / (region[2] - region[0]), 1.0 / (region[3] - region[1])
        numbers = (item.xc, item.yc, item.r_major, item.r_minor, item.theta)
        xc, yc = (item.xc / GRID - region[0]) * across, (item.yc / GRID - region[1]) * down
        whole = move_rect(cls.rect(numbers), region)
        if visible_share(whole) < VISIBLE or not (0.0 <= xc <= 1.0 and 0.0 <= yc <= 1.0):
            return None
        major, minor, theta = stretch_ellipse(item.r_major, item.r_minor, item.theta, across, down)
        r_major = min(max(round(major), 1), GRID)
        return Blob(
            item.label,
            round(xc * GRID),
            round(yc * GRID),
            r_major,
            min(max(round(minor), 1), r_major),
            round(theta) % 180,
        )

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw labelled outlines over an image, uint8 (height, width, 3); return a new array."""
        outlines = [blob.outline() for blob in self.items]
        return draw_outlines(image, outlines, [blob.label for blob in self.items])
