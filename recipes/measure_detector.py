"""Measure a detector on scenes of held-out combinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.yolo import YoloBackend
from pipelines.latents.matching import iou
from pipelines.scenes.factors import SHAPES
from recipes.examples_detector import Target, draw_example

TEST_SCENES = 1000
BATCH = 32


def measure(backend: YoloBackend, seed: int, scenes: int = TEST_SCENES) -> dict[str, Any]:
    """Measure a detector on scenes of held-out combinations.

    Returns:
        ``box_map50``, the mean of ``box_ap50`` over the classes that occur; ``mask_iou``, the mean
        over objects found at a box IoU of at least 0.5; ``found``, their share; ``scenes``, the
        number of scenes.
    """
    scored: list[tuple[int, float, bool]] = []
    mask_ious: list[float] = []
    truths: list[int] = []
    for first in range(0, scenes, BATCH):
        indices = range(first, min(first + BATCH, scenes))
        drawn = [draw_example(seed, "detector-test", i, "heldout") for i in indices]
        found = backend.predict([pixels for pixels, _ in drawn])
        for detections, (_, targets) in zip(found, drawn, strict=True):
            truths.extend(target.label for target in targets)
            hits, ious = match(detections, targets)
            labels = [SHAPES.index(label) for label in detections.labels]
            scored.extend(zip(labels, detections.scores.tolist(), hits, strict=True))
            mask_ious.extend(ious)
    ap = {SHAPES[i]: _class_precision(scored, truths, i) for i in sorted(set(truths))}
    return {
        "box_map50": round(float(np.mean(list(ap.values()))), 4),
        "box_ap50": {name: round(value, 4) for name, value in ap.items()},
        "mask_iou": round(float(np.mean(mask_ious or [0.0])), 4),
        "found": round(len(mask_ious) / len(truths), 4),
        "scenes": scenes,
    }


def match(detections: Detections, targets: Sequence[Target]) -> tuple[list[bool], list[float]]:
    """Match detections, by descending score, to unmatched targets of their class at IoU >= 0.5.

    Returns:
        Whether each detection matches a target, and the mask IoU of each match.
    """
    if detections.masks is None:
        raise ValueError("the shipped detector must predict masks")
    free = list(range(len(targets)))
    hits, mask_ious = [], []
    for box, label, mask in zip(detections.boxes, detections.labels, detections.masks, strict=True):
        own = [i for i in free if SHAPES[targets[i].label] == label]
        ious = [iou(tuple(box), targets[i].box) for i in own]
        hits.append(bool(ious) and max(ious) >= 0.5)
        if hits[-1]:
            best = own[int(np.argmax(ious))]
            free.remove(best)
            shape, truth = mask >= 0.5, targets[best].mask
            mask_ious.append(float((shape & truth).sum() / (shape | truth).sum()))
    return hits, mask_ious


def _class_precision(
    scored: Sequence[tuple[int, float, bool]], truths: Sequence[int], label: int
) -> float:
    rows = sorted(((s, hit) for own, s, hit in scored if own == label), key=lambda row: -row[0])
    return average_precision([hit for _, hit in rows], truths.count(label))


def average_precision(hits: Sequence[bool], truths: int) -> float:
    """Compute the area under the precision-recall curve with monotone precision (VOC since 2010).

    Args:
        hits: Whether each detection is correct, by descending score.
        truths: Number of targets.
    """
    right = np.cumsum(np.asarray(hits, dtype=np.float64))
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right, prepend=0.0) / max(truths, 1)
    return float((precision * steps).sum())
