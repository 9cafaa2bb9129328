"""Blobs: masks as ellipses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome
from pipelines.extract.detection import NOTHING
from pipelines.extract.detectors.base import Detections
from pipelines.extract.ellipse import fit_ellipses
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.latents.text import GRID

ROUND = 1.05
"""Ratio of half-axes below which the angle carries no information: the ellipse becomes a circle."""


def fit_blobs(found: Sequence[Detections], records: Sequence[Record]) -> list[Outcome]:
    """Fit an ellipse to each mask of each record.

    Args:
        found: With masks, in pixels of any grid over the picture; an empty mask is left out.
        records: As many, of any shapes.

    Returns:
        One outcome per record, with the blobs in the order of its detections.
    """
    if not found:
        return []
    drawn = [each.masks for each in found if each.masks is not None]
    kept = [np.flatnonzero((masks >= 0.5).any((1, 2))) for masks in drawn]
    masks = [all_of[indices] for all_of, indices in zip(drawn, kept, strict=True)]
    ends = np.cumsum([len(indices) for indices in kept])
    parts = np.split(fit_ellipses(_stack(masks)), ends[:-1])
    return [
        _outcome([each.labels[index] for index in indices], part, all_of.shape[1:])
        for each, indices, part, all_of in zip(found, kept, parts, masks, strict=True)
    ]


def _stack(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Stack masks of several images, (k, h, w) each, padded at the right and below."""
    height = max(each.shape[1] for each in masks)
    width = max(each.shape[2] for each in masks)
    return np.concatenate(
        [
            np.pad(each, ((0, 0), (0, height - each.shape[1]), (0, width - each.shape[2])))
            for each in masks
        ]
    )


def _outcome(labels: Sequence[str], ellipses: np.ndarray, shape: tuple[int, ...]) -> Outcome:
    if not labels:
        return NOTHING
    rows = zip(labels, ellipses, strict=True)
    return Ok(Blobs(tuple(to_blob(label, ellipse, *shape) for label, ellipse in rows)))


def to_blob(label: str, ellipse: np.ndarray, height: int, width: int) -> Blob:
    """Round an ellipse (5,) of `fit_ellipses` in an image of a height and width to the grid."""
    across, down = GRID / width, GRID / height
    xc, yc, major, minor, theta = ellipse.tolist()
    xc, yc = xc * across, yc * down
    major, minor, theta = stretch_ellipse(major, minor, theta, across, down)
    if major < ROUND * minor:
        major = minor = (major * minor) ** 0.5
        theta = 0.0
    r_major = min(max(round(major), 1), GRID)
    return Blob(
        label=label,
        xc=min(max(round(xc), 0), GRID),
        yc=min(max(round(yc), 0), GRID),
        r_major=r_major,
        r_minor=min(max(round(minor), 1), r_major),
        theta=round(theta) % 180,
    )
