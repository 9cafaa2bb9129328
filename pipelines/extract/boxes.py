"""Boxes: what a detector finds in the pixels, on the 0-1000 grid."""

from __future__ import annotations

from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome
from pipelines.extract.backends.yolo import Detections
from pipelines.extract.detection import DetectorStage, to_grid
from pipelines.latents.base import GRID
from pipelines.latents.boxes import Box, Boxes


class BoxesStage(DetectorStage):
    """pixels -> `Boxes`, in the order of `in_order`."""

    output = "boxes"
    version = 1

    def convert(self, detections: Detections, record: Record) -> Outcome:
        """Round the corners to the grid; a box is at least one unit wide and high."""
        height, width = record.pixels.shape[:2]
        x = to_grid(detections.boxes[:, 0::2], width, GRID)
        y = to_grid(detections.boxes[:, 1::2], height, GRID)
        items = []
        for label, (x1, x2), (y1, y2) in zip(detections.labels, x, y, strict=True):
            x1, y1 = min(x1, GRID - 1), min(y1, GRID - 1)
            items.append(Box(label, x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
        return Ok(Boxes(tuple(items)))
