"""Transform the geometry of a document when its picture is cropped, resized or padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.core.masks import pixels_of_runs, run_lengths
from pipelines.documents.document import Document, Image, Lost, Origin
from pipelines.documents.element import MAX_RUNS, Element, Ellipse, Mask
from pipelines.documents.part import Box
from pipelines.latents.regions import VISIBLE

MAX_MASK = 2048
"""Longest side in pixels of a mask that is moved to another picture."""


@dataclass(frozen=True)
class Placement:
    """The position of the original picture in the new one, in fractions of the sides.

    A point moves from x to ``x * scale_x + left``. Values below 0 and above 1 are outside.

    Attributes:
        scale_x: Width of the original relative to the new picture.
        scale_y: Height of the original relative to the new picture.
        left: The original's left edge in the new picture.
        top: The original's upper edge in the new picture.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    left: float = 0.0
    top: float = 0.0

    @classmethod
    def of_fit(cls, width: int, height: int, fit: str) -> Placement:
        """Return the placement by ``data.fit`` of a picture of this size.

        Args:
            width: Width of the original.
            height: Height of the original.
            fit: ``pad``, ``crop`` or ``keep``.
        """
        if fit == "keep":
            return cls()
        side = min(width, height) if fit == "crop" else max(width, height)
        across, down = width / side, height / side
        return cls(across, down, (1 - across) / 2, (1 - down) / 2)


def place(document: Document, placement: Placement, size: Image) -> Document:
    """Transform a document's elements for a new picture.

    Args:
        document: The document of the original picture.
        placement: Position of the original in the new picture.
        size: Size of the new picture.

    Returns:
        The document of the new picture. Boxes and polygons are clipped, and masks in run lengths
        get the pixels of the new picture. An element of which less than `VISIBLE` remains is
        dropped; it is listed in ``origin.lost``, as are masks that cannot be moved.
    """
    kept: list[Element] = []
    lost: list[Lost] = []
    for index, element in enumerate(document.elements or ()):
        moved = _element(element, placement, size)
        if moved is None:
            lost.append(Lost(path=f"elements[{index}]", why="It is outside of the crop."))
            continue
        kept.append(moved)
        if element.mask is not None and moved.mask is None:
            lost.append(Lost(path=f"elements[{index}].mask", why=_why_lost(element.mask)))
    ids = {element.id for element in kept}
    relations = document.relations
    if relations and len(kept) < len(document.elements or ()):
        relations = tuple(r for r in relations if {r.subject, r.object} <= ids) or None
    origin = document.origin
    if lost or placement != Placement():
        origin = origin or Origin(format="kaleido.z")
    if lost and origin is not None:
        origin = origin.model_copy(update={"lost": (*(origin.lost or ()), *lost)})
    return document.model_copy(
        update={
            "image": size.model_copy(update={"crop": _crop(placement)}),
            "elements": None if document.elements is None else tuple(kept),
            "relations": relations,
            "origin": origin,
        }
    )


def _crop(placement: Placement) -> Box | None:
    """Return the part of the original that the new picture shows; None for all of it."""
    if placement.scale_x <= 1 and placement.scale_y <= 1:
        return None
    edges = (
        max(0.0, -placement.left / placement.scale_x),
        max(0.0, -placement.top / placement.scale_y),
        min(1.0, (1 - placement.left) / placement.scale_x),
        min(1.0, (1 - placement.top) / placement.scale_y),
    )
    return edges


def _element(element: Element, placement: Placement, size: Image) -> Element | None:
    if placement == Placement():
        return element.model_copy(update={"mask": _mask(element.mask, placement, size)})
    update: dict[str, object] = {}
    if element.box is not None:
        box = _clipped(element.box, placement)
        if box is None:
            return None
        update["box"] = box
    if element.ellipse is not None:
        ellipse = _ellipse(element.ellipse, placement)
        if element.box is None and not (0 <= ellipse.x <= 1 and 0 <= ellipse.y <= 1):
            return None
        update["ellipse"] = ellipse
    update["mask"] = _mask(element.mask, placement, size)
    return element.model_copy(update=update)


def _point(x: float, y: float, placement: Placement) -> tuple[float, float]:
    return x * placement.scale_x + placement.left, y * placement.scale_y + placement.top


def _clipped(box: Box, placement: Placement) -> Box | None:
    x1, y1 = _point(box[0], box[1], placement)
    x2, y2 = _point(box[2], box[3], placement)
    clipped = max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2)
    across, down = clipped[2] - clipped[0], clipped[3] - clipped[1]
    if min(across, down) <= 0 or across * down < VISIBLE * (x2 - x1) * (y2 - y1):
        return None
    return clipped


def _ellipse(ellipse: Ellipse, placement: Placement) -> Ellipse:
    # Half-axes are fractions of the width; pixels stay square.
    x, y = _point(ellipse.x, ellipse.y, placement)
    radii = {"major": ellipse.major * placement.scale_x, "minor": ellipse.minor * placement.scale_x}
    return ellipse.model_copy(update={"x": x, "y": y, **radii})


def _mask(mask: Mask | None, placement: Placement, size: Image) -> Mask | None:
    """Transform a mask; None if it is in a file of the original's pixels, or has too many runs."""
    stays = placement == Placement()
    if mask is None or (stays and mask.counts is None):
        return mask
    if mask.counts is not None and mask.size is not None:
        shape = _within(size)
        if stays and mask.size == shape:
            return mask
        xs = ((np.arange(shape[1]) + 0.5) / shape[1] - placement.left) / placement.scale_x
        ys = ((np.arange(shape[0]) + 0.5) / shape[0] - placement.top) / placement.scale_y
        counts = run_lengths(pixels_of_runs(mask.counts, mask.size, xs, ys).T)
        return Mask(size=shape, counts=tuple(counts)) if len(counts) <= MAX_RUNS else None
    outlines = []
    for outline in mask.polygons or ():
        points = (_point(x, y, placement) for x, y in zip(outline[::2], outline[1::2], strict=True))
        outlines.append(tuple(min(1.0, max(0.0, v)) for point in points for v in point))
    return Mask(polygons=tuple(outlines)) if outlines else None


def _within(size: Image) -> tuple[int, int]:
    """Return height and width of a mask for a picture, with sides of at most `MAX_MASK`."""
    factor = min(1.0, MAX_MASK / max(size.height, size.width))
    return max(1, round(size.height * factor)), max(1, round(size.width * factor))


def _why_lost(mask: Mask) -> str:
    if mask.counts is not None:
        return f"Its mask has more than {MAX_RUNS:,} run lengths in the new picture."
    return "Its mask is a file of the original picture's pixels."
