"""Measure whether a picture shows the blobs of z, by the ellipses of the objects found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluate.adherence.matching import Kept, measures
from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.extract.ellipse import draw_ellipses
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.matching import best_pairs
from pipelines.latents.text import GRID

SIDE = 64
"""Side in pixels of the antialiased masks by which ellipses are compared."""

ELONGATED = 1.2
"""Least ratio of the half-axes at which angles are compared; rounder ellipses have no meaningful
angle."""


def blob_adherence(texts: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Compare blobs with pictures; picture i was drawn from text i.

    Args:
        texts: The z of each picture.
        verdicts: The verdict on each picture, with ellipses.

    Returns:
        The metrics of `measures`, with ``iou``; ``centre``, the distance between centres in
        thousandths of the side; and ``angle``, the difference in degrees from 0 to 90, since an
        ellipse is symmetric under half a turn, over blobs that are `ELONGATED`.
    """
    latents = [latent_of(z, Blobs) for z in texts]
    parts = [
        count_blobs(blobs.items, verdict.objects)
        for blobs, verdict in zip(latents, verdicts, strict=True)
        if blobs
    ]
    return measures("blobs", parts, ("iou", "centre", "angle"))


def count_blobs(asked: Sequence[Blob], found: Sequence[FoundObject]) -> Kept:
    """Match the blobs of z with the objects found, one to one, by descending IoU.

    Args:
        asked: The blobs of z.
        found: The judge's objects. Labels must match; objects without an ellipse never match.
    """
    wanted = np.array([(b.xc, b.yc, b.r_major, b.r_minor, b.theta) for b in asked], np.float64)
    seen = np.array([item.ellipse or (0.0, 0.0, 1.0, 1.0, 0.0) for item in found], np.float64)
    same = [[b.label == item.label and item.ellipse is not None for item in found] for b in asked]
    overlaps = np.zeros((len(asked), len(found)))
    if np.any(same):
        overlaps = np.where(same, _overlaps(wanted, seen), 0.0)
    pairs = best_pairs(overlaps)
    kept = [{"iou": float(overlaps[i, j]), **_errors(wanted[i], seen[j])} for i, j in pairs]
    return Kept(len(asked), tuple(kept), len(found) - len(pairs))


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the IoU of all pairs of ellipses in grid units: (n, 5), (m, 5) -> (n, m)."""
    unit = np.array([SIDE / GRID] * 4 + [1.0])
    one, other = (draw_ellipses(each * unit, (SIDE, SIDE)) for each in (first, second))
    both = np.minimum(one[:, None], other).sum((2, 3))
    either = np.maximum(one[:, None], other).sum((2, 3))
    return both / np.maximum(either, 1e-9)


def _errors(wanted: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    turned = abs(wanted[4] - seen[4]) % 180.0
    elongated = wanted[2] >= ELONGATED * wanted[3]
    return {
        "centre": float(np.hypot(*(wanted[:2] - seen[:2]))),
        "angle": float(min(turned, 180.0 - turned)) if elongated else float("nan"),
    }
