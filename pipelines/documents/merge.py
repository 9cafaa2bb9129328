"""Merge boxes, blobs and colours of the same objects into the elements of a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipelines.documents.element import Element, Ellipse
from pipelines.latents.alignment import aligned
from pipelines.latents.blobs import Blob
from pipelines.latents.boxes import Box
from pipelines.latents.colours import ElementColours
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.latents.text import GRID


def merge_items(
    boxes: Sequence[Box],
    blobs: Sequence[Blob],
    colours: Sequence[ElementColours],
    ratio: float = 1.0,
) -> tuple[Element, ...]:
    """Write items as elements, one for each object, so that they project back onto the same items.

    The order of each of the three lists is kept.

    Args:
        boxes: Labels and rectangles.
        blobs: Labels and ellipses.
        colours: Labels and colours.
        ratio: The picture's width over its height.
    """
    elements = [
        _element(None if i is None else boxes[i], None if j is None else blobs[j], ratio)
        for i, j in _merged(len(boxes), len(blobs), aligned(boxes, blobs, _same))
    ]
    return tuple(
        element.model_copy(update={"id": f"e{index}"})
        for index, element in enumerate(_coloured(elements, colours))
    )


def _coloured(elements: Sequence[Element], items: Sequence[ElementColours]) -> list[Element]:
    """Give elements the colours of items with their labels, preserving the order of both lists.

    Items without an element become elements without a place.
    """
    pairs = aligned(elements, items, lambda element, item: element.label == item.label)
    found = []
    for i, j in _merged(len(elements), len(items), pairs):
        if j is None:
            found += [] if i is None else [elements[i]]
            continue
        element = Element(id="new", label=items[j].label) if i is None else elements[i]
        found.append(element.model_copy(update={"colours": items[j].hexes}))
    return found


def _merged(
    first: int, second: int, pairs: Mapping[int, int]
) -> Iterator[tuple[int | None, int | None]]:
    """Yield the indices of two lists, paired where they are aligned."""
    done = 0
    for i in range(first):
        j = pairs.get(i)
        if j is not None:
            yield from ((None, k) for k in range(done, j))
            done = j + 1
        yield i, j
    yield from ((None, k) for k in range(done, second))


def _element(box: Box | None, blob: Blob | None, ratio: float) -> Element:
    item = box or blob
    assert item is not None
    ellipse = None
    if blob is not None:
        x, y, major, minor = (v / GRID for v in (blob.xc, blob.yc, blob.r_major, blob.r_minor))
        major, minor, angle = stretch_ellipse(major, minor, blob.theta, 1.0, 1.0 / ratio)
        ellipse = Ellipse(x=x, y=y, major=major, minor=minor, angle=angle)
    corners = None
    if box is not None:
        corners = (box.x1 / GRID, box.y1 / GRID, box.x2 / GRID, box.y2 / GRID)
    return Element(id="new", label=item.label, box=corners, ellipse=ellipse)


def _same(box: Box, blob: Blob) -> bool:
    """Return whether a blob has a box's label and its centre is inside."""
    inside = box.x1 <= blob.xc <= box.x2 and box.y1 <= blob.yc <= box.y2
    return inside and box.label == blob.label
