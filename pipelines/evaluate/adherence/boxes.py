"""Measure whether a picture shows the boxes of z, and whether z agrees with the caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.evaluate.adherence.matching import Kept, measures
from pipelines.evaluate.adherence.z_text import latent_of, read_z
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.matching import best_pairs, iou


def boxes_of(z: str) -> tuple[Box, ...]:
    """Return the boxes of z; none if z has no boxes or does not parse."""
    boxes = latent_of(z, Boxes)
    return boxes.items if boxes else ()


def parses(z: str) -> bool:
    """Return whether z follows the grammar of its kinds."""
    return read_z(z) is not None


def count_boxes(asked: Sequence[Box], found: Sequence[FoundObject]) -> Kept:
    """Match the boxes of z with the objects found, one to one, by descending IoU.

    Args:
        asked: The boxes of z.
        found: The judge's objects, with boxes on the same 0-1000 grid. Labels must match.
    """
    overlaps = np.zeros((len(asked), len(found)))
    for row, box in enumerate(asked):
        for column, item in enumerate(found):
            if box.label == item.label:
                overlaps[row, column] = iou((box.x1, box.y1, box.x2, box.y2), item.box)
    pairs = best_pairs(overlaps)
    overlap = tuple({"iou": float(overlaps[pair])} for pair in pairs)
    return Kept(len(asked), overlap, len(found) - len(pairs))


def box_adherence(texts: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Compute `measures` of boxes; picture i was drawn from text i."""
    parts = [
        count_boxes(boxes, verdict.objects)
        for z, verdict in zip(texts, verdicts, strict=True)
        if (boxes := boxes_of(z))
    ]
    return measures("boxes", parts, ("iou",))


def same_count(z: str, asked: Mapping[str, int]) -> bool:
    """Return whether z has as many boxes as the caption has objects."""
    return len(boxes_of(z)) == sum(asked.values())


def same_shapes(z: str, asked: Mapping[str, int]) -> bool:
    """Return whether the boxes of z have exactly the captioned shapes, in any number."""
    return {box.label for box in boxes_of(z)} == set(asked)


def agrees(z: str, asked: Mapping[str, int]) -> bool:
    """Return whether the boxes of z have the captioned shapes in the captioned numbers."""
    return Counter(box.label for box in boxes_of(z)) == Counter(asked)
