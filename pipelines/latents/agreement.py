"""Agreement of the kinds of one z with each other: boxes with blobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.matching import best_pairs, iou
from pipelines.latents.text import GRID

_NEARNESS = 1e-6
"""Weight of nearness in pairing: it decides among regions that do not overlap at all."""


class Agreement(NamedTuple):
    """How the boxes and the blobs of one z fit each other.

    Attributes:
        overlaps: IoU of each box with the rectangle around the blob of the same label, and 0 for
            each box or blob without a partner.
        distances: Distance between the centres of each pair, in thousandths of the side.
        labels: Label of each overlap's box or blob.
    """

    overlaps: tuple[float, ...]
    distances: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def least(self) -> float:
        """The smallest overlap."""
        return min(self.overlaps)


def agreement(z: Mapping[str, Latent]) -> Agreement | None:
    """Compare the boxes of z with its blobs; None if it lacks either.

    An ellipse fits an object less tightly than its box, so real z do not reach 1.
    """
    boxes, blobs = z.get("boxes"), z.get("blobs")
    if not isinstance(boxes, Boxes) or not isinstance(blobs, Blobs):
        return None
    ours = [(b.x1, b.y1, b.x2, b.y2) for b in boxes.items]
    rects = [Blobs.rect((b.xc, b.yc, b.r_major, b.r_minor, b.theta)) for b in blobs.items]
    theirs = [tuple(GRID * edge for edge in rect) for rect in rects]
    overlaps = np.array([[iou(a, b) for b in theirs] for a in ours])
    apart = np.linalg.norm(_centres(ours)[:, None] - _centres(theirs), axis=-1)
    same = [[a.label == b.label for b in blobs.items] for a in boxes.items]
    scores = np.where(same, overlaps + _NEARNESS / (1.0 + apart), 0.0)
    pairs = best_pairs(scores, least=np.finfo(float).tiny)
    paired = [boxes.items[row].label for row, _ in pairs]
    alone = [boxes.items[i].label for i in range(len(ours)) if i not in dict(pairs)]
    alone += [
        blobs.items[i].label for i in range(len(theirs)) if i not in {blob for _, blob in pairs}
    ]
    return Agreement(
        (*(float(overlaps[pair]) for pair in pairs), *[0.0] * len(alone)),
        tuple(float(apart[pair]) for pair in pairs),
        (*paired, *alone),
    )


def _centres(rects: Sequence[tuple[float, ...]]) -> np.ndarray:
    corners = np.array(rects, np.float64)
    return (corners[:, :2] + corners[:, 2:]) / 2.0
