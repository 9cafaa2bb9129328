"""Shapes of pictures: what is cut away to reach one, and how people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipelines.core.errors import KaleidoError
from pipelines.latents.base import Rect
from pipelines.latents.crop import WHOLE
from pipelines.workspace.settings import DiffusionSettings

Shape = tuple[int, int]
"""Height and width in pixels."""

RATIOS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 9, 2.0, 12 / 5, 3.0, 4.0)
"""Ratios of sides: those of cameras and screens, so that little is cut from most photographs."""

_SIZE = re.compile(r"(\d{1,5})(?: ?[x×] ?(\d{1,5}))?")


def smallest_step(settings: DiffusionSettings) -> int:
    """Return what divides both sides of everything that is drawn: a patch, or the nested strides.

    Args:
        settings: ``architecture`` and sizes.
    """
    if settings.architecture == "nested-unet":
        return int(2 ** (len(settings.outer_channels) + len(settings.inner_channels) - 2))
    return settings.patch_size


def bucket_shapes(side: int, step: int, aspect: float) -> list[Shape]:
    """Return the shapes at which pictures of all shapes are trained.

    Args:
        side: Side of the square one in pixels; the others have about its area.
        step: Divides all sides; it divides `side`.
        aspect: The largest ratio of the longer to the shorter side; 1 gives the square alone.
    """
    shapes: dict[Shape, None] = {}
    for ratio in RATIOS:
        if ratio > aspect:
            break
        long, short = (max(1, round(side * r / step)) * step for r in (ratio**0.5, ratio**-0.5))
        shapes |= {(short, long): None, (long, short): None}
    return list(shapes)


def nearest_shape(size: tuple[int, int], shapes: Sequence[Shape]) -> Shape:
    """Return the shape of which a picture, width and height, loses the least when it is cropped."""
    ratio = size[0] / size[1]
    return min(shapes, key=lambda shape: abs(math.log(ratio * shape[0] / shape[1])))


def write_shape(shape: Shape) -> str:
    """Write a shape as people do, the width first: ``384x256``."""
    return f"{shape[1]}x{shape[0]}"


def read_shape(text: str) -> Shape | None:
    """Read ``384x256``, or ``256`` for a square; None if the text is something else."""
    match = _SIZE.fullmatch(text.strip())
    return (int(match[2] or match[1]), int(match[1])) if match else None


def choose_shape(size: str, known: Sequence[Shape]) -> Shape:
    """Return the shape that a text asks for, or the first one.

    Args:
        size: ``384x256``, the width first, or ``256`` for a square, or empty.
        known: The shapes to choose from.

    Raises:
        KaleidoError: If it has another form, or is none of the known shapes (``bad-option``).
    """
    if not size:
        return known[0]
    shape = read_shape(size)
    if shape is not None and shape in known:
        return shape
    why = (
        "a width and a height are written like 384x256."
        if shape is None
        else ("the model was trained on other sizes.")
    )
    names = ", ".join(map(write_shape, known))
    raise KaleidoError(f"--size {size}", why, f"Choose among {names}.", code="bad-option")


def crop_region(size: tuple[int, int], shape: Shape, at: tuple[float, float] = (0.5, 0.5)) -> Rect:
    """Return the largest part of a picture that has a shape's ratio of sides.

    Args:
        size: Width and height of the picture.
        shape: The shape, of any size.
        at: Where the part lies, across and down: 0 is the left or upper edge of what can be cut
            away, 0.5 the middle.

    Returns:
        Left, top, right and bottom in units of the picture's sides.
    """
    across, down = size[0] / shape[1], size[1] / shape[0]
    if across == down:
        return WHOLE
    width, height = min(1.0, down / across), min(1.0, across / down)
    left, top = (1.0 - width) * at[0], (1.0 - height) * at[1]
    return left, top, left + width, top + height
