"""Blobs: the detector's masks as ellipses."""

from __future__ import annotations

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome
from pipelines.extract.backends.yolo import Detections
from pipelines.extract.detection import DetectorStage
from pipelines.extract.ellipse import fit_ellipses
from pipelines.latents.base import GRID
from pipelines.latents.blobs import Blob, Blobs

ROUND = 1.05
"""Where the half-axes differ by less, the angle says nothing: the ellipse becomes a circle."""


class BlobsStage(DetectorStage):
    """pixels -> `Blobs`, with the labels and in the order of `BoxesStage`."""

    output = "blobs"
    version = 1

    def convert(self, detections: Detections, record: Record) -> Outcome:
        """Fit an ellipse to every mask; one that is nowhere probable is left out."""
        height, width = record.pixels.shape[:2]
        if height != width:
            return Failed(f"blobs need a square image; this one has {width} x {height} pixels")
        solid = np.flatnonzero((detections.masks >= 0.5).any((1, 2)))
        if not solid.size:
            return Filtered("no mask found")
        ellipses = fit_ellipses(detections.masks[solid])
        labels = [detections.labels[index] for index in solid]
        rows = zip(labels, ellipses, strict=True)
        return Ok(Blobs(tuple(to_blob(label, ellipse, width) for label, ellipse in rows)))


def to_blob(label: str, ellipse: np.ndarray, side: int) -> Blob:
    """Round an ellipse (5,) of `fit_ellipses` in an image of `side` pixels to the grid."""
    xc, yc, major, minor = (ellipse[:4] * (GRID / side)).tolist()
    theta = float(ellipse[4])
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
