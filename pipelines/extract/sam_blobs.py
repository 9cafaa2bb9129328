"""Blobs by SAM: an ellipse fitted to the mask of the object in each of a record's boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Outcome, Stage, StageSpec
from pipelines.extract.blobs import fit_blobs
from pipelines.extract.detectors.base import Detections, DetectorRef
from pipelines.extract.detectors.sam import SamBackend
from pipelines.latents.text import GRID

BATCH = 8
"""Records per call; their masks are held at full size until all of them are fitted."""


class SamBlobsStage(Stage):
    """pixels and `Boxes` -> `Blobs`, with the boxes' labels and order.

    Args:
        ref: A SAM.
    """

    def __init__(self, ref: DetectorRef) -> None:
        self._ref = ref
        self._backend: SamBackend | None = None
        self.spec = StageSpec(
            name="blobs-sam",
            version=2,
            output="blobs",
            inputs=("boxes",),
            batch_size=BATCH,
            options={"weights": ref.identity},
            resources=NETWORK,
        )

    def setup(self) -> None:
        """Load the weights."""
        self._backend = SamBackend(self._ref)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Fit an ellipse to the mask in each box; a box in which none is found is left out."""
        if self._backend is None:
            raise RuntimeError("setup() comes before the first batch")
        return fit_blobs([_segment(self._backend, record) for record in records], records)


def _segment(backend: SamBackend, record: Record) -> Detections:
    items = record.latents["boxes"].items
    height, width = record.pixels.shape[:2]
    corners = np.array([(box.x1, box.y1, box.x2, box.y2) for box in items], np.float32)
    boxes = corners * np.array([width, height, width, height], np.float32) / GRID
    masks = backend.masks(record.pixels, boxes)
    labels = tuple(box.label for box in items)
    return Detections(boxes, np.ones(len(items), np.float32), labels, masks)
