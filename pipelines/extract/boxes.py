"""Boxes: what a detector finds in the pixels, on the 0-1000 grid."""

from __future__ import annotations

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome
from pipelines.extract.backends.yolo import Detections
from pipelines.extract.detection import DetectorStage
from pipelines.latents.base import GRID
from pipelines.latents.boxes import Box, Boxes


class BoxesStage(DetectorStage):
    """pixels -> `Boxes`, in the order of `in_order`."""

    output = "boxes"
    version = 1

    def convert(self, detections: Detections, record: Record) -> Outcome:
        """Round the corners to the grid; a box is at least one unit wide and high."""
        height, width = record.pixels.shape[:2]
        extent = np.array([width, height, width, height])
        corners = np.rint(np.clip(detections.boxes / extent, 0.0, 1.0) * GRID).astype(int)
        corners[:, :2] = np.minimum(corners[:, :2], GRID - 1)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
        rows = zip(detections.labels, corners.tolist(), strict=True)
        return Ok(Boxes(tuple(Box(label, *row) for label, row in rows)))
