"""Detections, and the interface of detectors, whatever library they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.core.stage import Failed
from pipelines.extract.model_ref import ModelRef

SAME_OBJECT = 0.6
"""Boxes of a greater IoU belong to one object."""


@dataclass(frozen=True)
class Detections:
    """The objects found in one image of height h and width w, the most certain first.

    Attributes:
        boxes: float32 (k, 4), x1, y1, x2, y2 in pixels, within the image.
        scores: float32 (k,), from 0 to 1.
        labels: k class names.
        masks: float32 (k, h, w), each pixel's probability of belonging to the object; None from a
            detector that draws no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]
    masks: np.ndarray | None = None

    def take(self, indices: Sequence[int]) -> Detections:
        """Select objects, in the order of `indices`."""
        chosen = list(indices)
        return Detections(
            self.boxes[chosen],
            self.scores[chosen],
            tuple(self.labels[index] for index in chosen),
            None if self.masks is None else self.masks[chosen],
        )


class DetectorBackend(Protocol):
    """A loaded detector."""

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str]
    ) -> Sequence[Detections | Failed]:
        """Find objects.

        Args:
            images: uint8 arrays (h, w, 3), RGB, of any sizes.
            captions: One per image, for detectors that look for the objects that a text names.

        Returns:
            One per image: its objects, or why an image's result cannot be used.
        """
        ...


@dataclass(frozen=True)
class DetectorRef(ModelRef):
    """A detector that is chosen but not loaded.

    Attributes:
        has_masks: Whether its detections have masks.
        prompts: What an open-vocabulary detector looks for; empty for the objects in the caption.
        task: Of an ultralytics checkpoint: ``detect``, ``rtdetr`` or ``segment``.
        trusted: Whether a checkpoint may run code as it is loaded.
    """

    has_masks: bool
    prompts: tuple[str, ...] = ()
    task: str = ""
    trusted: bool = False


def most_certain(found: Detections, shape: tuple[int, ...], count: int) -> Detections:
    """Sort by score, drop second boxes of one object, and cut at the image's border.

    Args:
        found: In any order.
        shape: Height and width of the image.
        count: Most objects to keep.
    """
    found = found.take(np.argsort(-found.scores, kind="stable").tolist())
    found = found.take(distinct(found.boxes)[:count])
    limit = np.array([shape[1], shape[0]] * 2, np.float32)
    boxes = np.clip(found.boxes, 0.0, limit).astype(np.float32)
    return Detections(boxes, found.scores, found.labels, found.masks)


def distinct(boxes: np.ndarray) -> list[int]:
    """Indices of the boxes (k, 4) that overlap no earlier kept one by more than `SAME_OBJECT`."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        others = boxes[kept]
        sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        both = np.maximum(sides, 0.0).prod(1)
        areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
        if not (both > SAME_OBJECT * (areas - both)).any():
            kept.append(index)
    return kept
