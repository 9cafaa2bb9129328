"""Boxes: a detector's objects on the 0-1000 grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome
from pipelines.extract.detection import NOTHING
from pipelines.extract.detectors.base import Detections
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.text import GRID


def find_boxes(found: Sequence[Detections], records: Sequence[Record]) -> list[Outcome]:
    """Return the boxes of each record, in the order of its detections."""
    return [
        Ok(to_boxes(detections, record.pixels.shape)) if detections.labels else NOTHING
        for detections, record in zip(found, records, strict=True)
    ]


def to_boxes(detections: Detections, shape: tuple[int, ...]) -> Boxes:
    """Round corners to the grid; a box is at least one unit wide and high.

    Args:
        detections: At least one.
        shape: The image's height and width in pixels come first.
    """
    height, width = shape[:2]
    extent = np.array([width, height, width, height])
    corners = np.rint(np.clip(detections.boxes / extent, 0.0, 1.0) * GRID).astype(int)
    corners[:, :2] = np.minimum(corners[:, :2], GRID - 1)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    rows = zip(detections.labels, corners.tolist(), strict=True)
    return Boxes(tuple(Box(label, *row) for label, row in rows))
