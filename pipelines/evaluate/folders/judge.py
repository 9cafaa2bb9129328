"""Whether pictures show what caption and z ask for, by the detector that extracts boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.core.record import Record
from pipelines.core.stage import Failed
from pipelines.documents.projection import document_of
from pipelines.evaluate.adherence.boxes import boxes_of, count_boxes
from pipelines.evaluate.folders.read import Drawn
from pipelines.evaluate.observations import FoundObject
from pipelines.extract.boxes import to_boxes
from pipelines.extract.context import StageContext
from pipelines.latents.boxes import Boxes
from pipelines.plan.planners.facts import Named, contradictions, read_facts
from pipelines.workspace.workspace import Workspace

BATCH = 8


class Judge:
    """Looks for objects in pictures.

    Args:
        workspace: Its ``[extract]`` settings name the detector.

    Raises:
        KaleidoError: If they name none, or it cannot be loaded.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._detector = StageContext(workspace).detector
        self._detector.setup()
        self.name = str(self._detector.options["weights"])[:16]

    def __call__(self, pictures: Sequence[Drawn]) -> dict[str, np.ndarray]:
        """Judge the pictures of a caption.

        Returns:
            ``objects``, (n,): whether the picture shows the objects that the caption names, in its
            numbers (colours are not looked at); ``boxes``, (n, 2): the share of z's boxes that are
            found, and of those of the next picture's z. NaN where nothing is named or found out.
        """
        found = self._find(pictures)
        facts = [replace(fact, colours=()) for fact in read_facts(pictures[0].caption)]
        kept = [_keeps(boxes, facts) if facts else math.nan for boxes in found]
        own = [each.z for each in pictures]
        following = [*own[1:], *own[:1]]
        return {
            "objects": np.array(kept),
            "boxes": np.stack([_shares(own, found), _shares(following, found)], axis=1),
        }

    def _find(self, pictures: Sequence[Drawn]) -> list[Boxes | None]:
        """Find the objects of pictures; None where the detector fails."""
        found: list[Boxes | None] = []
        for batch in in_batches(pictures, BATCH):
            records = [Record(str(p.file), p.file.read_bytes(), p.caption) for p in batch]
            for record, seen in zip(records, self._detector.find(records), strict=True):
                if isinstance(seen, Failed):
                    found.append(None)
                else:
                    shape = record.pixels.shape
                    found.append(to_boxes(seen, shape) if seen.labels else Boxes(()))
        return found


def _keeps(boxes: Boxes | None, facts: Sequence[Named]) -> float:
    if boxes is None:
        return math.nan
    seen = document_of({"boxes": boxes} if boxes.items else {})
    return float(not contradictions(facts, seen))


def _shares(texts: Sequence[str], found: Sequence[Boxes | None]) -> np.ndarray:
    return np.array([_share(*pair) for pair in zip(texts, found, strict=True)])


def _share(z: str, boxes: Boxes | None) -> float:
    if boxes is None:
        return math.nan
    places = [FoundObject(b.label, (b.x1, b.y1, b.x2, b.y2), 1.0) for b in boxes.items]
    return count_boxes(boxes_of(z), places).share
