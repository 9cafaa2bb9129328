"""Adherence: whether the picture shows the boxes of z, and whether z says what the caption says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.evaluate.judge import Found, Verdict, iou
from pipelines.latents.base import LatentError
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.sequence import z_from_text

IOU = 0.5


@dataclass(frozen=True, slots=True)
class BoxCount:
    """Boxes that z asks for, those of them that the judge found, and what it found besides."""

    asked: int
    found: int
    extra: int

    @property
    def share(self) -> float:
        """Found as a share of asked; NaN if none was asked for."""
        return self.found / self.asked if self.asked else float("nan")


def boxes_of(z: str) -> tuple[Box, ...]:
    """Return the boxes in a z's text; none if it has no boxes or does not parse."""
    try:
        boxes = z_from_text(z).get("boxes")
    except LatentError:
        return ()
    return boxes.items if isinstance(boxes, Boxes) else ()


def parses(z: str) -> bool:
    """Whether z's text follows the grammar of its kinds."""
    try:
        z_from_text(z)
    except LatentError:
        return False
    return True


def count_boxes(asked: Sequence[Box], found: Sequence[Found], threshold: float = IOU) -> BoxCount:
    """Match boxes of z with what the judge found, one to one, the best overlap first.

    Args:
        asked: The boxes of z.
        found: The judge's objects, boxes on the same 0-1000 grid.
        threshold: Least IoU of a match; the label must be equal too.
    """
    pairs = sorted(
        (
            (iou((box.x1, box.y1, box.x2, box.y2), item.box), i, j)
            for i, box in enumerate(asked)
            for j, item in enumerate(found)
            if box.label == item.shape
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    left, right = set(range(len(asked))), set(range(len(found)))
    for overlap, i, j in pairs:
        if overlap >= threshold and i in left and j in right:
            left.remove(i)
            right.remove(j)
    return BoxCount(len(asked), len(asked) - len(left), len(right))


def total(counts: Sequence[BoxCount]) -> BoxCount:
    """Add counts."""
    return BoxCount(
        sum(c.asked for c in counts), sum(c.found for c in counts), sum(c.extra for c in counts)
    )


def box_adherence(texts: Sequence[str], verdicts: Sequence[Verdict]) -> BoxCount:
    """Count over images: text i is the z that image i was drawn from."""
    return total(
        [
            count_boxes(boxes_of(z), verdict.objects)
            for z, verdict in zip(texts, verdicts, strict=True)
        ]
    )


def same_count(z: str, asked: Mapping[str, int]) -> bool:
    """Whether z has as many boxes as the caption asks for objects."""
    return len(boxes_of(z)) == sum(asked.values())


def same_shapes(z: str, asked: Mapping[str, int]) -> bool:
    """Whether z's boxes are of the captioned shapes and no others, in whatever numbers."""
    return {box.label for box in boxes_of(z)} == set(asked)


def agrees(z: str, asked: Mapping[str, int]) -> bool:
    """Whether z's boxes have the captioned shapes in the captioned numbers."""
    return Counter(box.label for box in boxes_of(z)) == Counter(asked)
