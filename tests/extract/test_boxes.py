"""Boxes of scenes, by the shipped detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Ok, Outcome
from pipelines.embedded.paths import embedded_path
from pipelines.extract.boxes import to_boxes
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.find import find_detector
from pipelines.extract.objects import ObjectsStage
from pipelines.latents.boxes import Box, Boxes
from pipelines.scenes.generate import make_records


def boxes_of(folder: Path, confidence: float, records: list[Record]) -> Sequence[Outcome]:
    stage = ObjectsStage(Detector(find_detector(str(folder)), confidence, 8), ["boxes"])
    stage.setup()
    return stage.compute(records, ["boxes"])["boxes"]


def test_boxes_of_scenes_are_those_that_were_drawn():
    records = list(make_records(48, seed=21))
    outcomes = boxes_of(embedded_path("detector"), 0.25, records)
    asked = found = 0
    for record, outcome in zip(records, outcomes, strict=True):
        boxes = outcome.value.items if isinstance(outcome, Ok) else ()
        for item in record.meta["truth"]["objects"]:
            if item["visible"] >= 0.5:
                asked += 1
                truth = np.array(item["box"]) * 1000
                same = [box for box in boxes if box.label == item["shape"]]
                near = [np.abs(np.array([b.x1, b.y1, b.x2, b.y2]) - truth).max() < 50 for b in same]
                found += any(near)
    assert found / asked >= 0.9


def test_an_empty_picture_is_filtered():
    pixels = np.full((64, 64, 3), (250, 246, 236), np.uint8)
    empty = [Record("empty", encode_png(pixels), "nothing")]
    (outcome,) = boxes_of(embedded_path("detector"), 0.25, empty)
    assert outcome == Filtered("no object found")


def test_boxes_at_the_border_stay_on_the_grid(untrained):
    outcomes = boxes_of(untrained, 0.0, list(make_records(4, seed=2)))
    assert all(isinstance(outcome, Ok) for outcome in outcomes)
    for outcome in outcomes:
        outcome.value.validate()
        assert len(outcome.value.items) <= 8


def test_other_weights_or_thresholds_are_another_stage(untrained):
    def options(folder, confidence=0.25, max_objects=8):
        detector = Detector(find_detector(str(folder)), confidence, max_objects)
        return ObjectsStage(detector, ["boxes"]).specs[0].options

    assert options(untrained) == options(untrained)
    assert options(untrained) != options(embedded_path("detector"))
    assert options(untrained) != options(untrained, confidence=0.5)
    assert options(untrained) != options(untrained, max_objects=7)


def test_corners_are_rounded_kept_inside_and_apart():
    boxes = np.array([[-1, 0, 32, 70], [63.99, 10, 64, 10.01]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), ("a", "b"), np.zeros((2, 64, 64)))
    assert to_boxes(found, (64, 64, 3)) == Boxes(
        (Box("a", 0, 0, 500, 1000), Box("b", 999, 156, 1000, 157))
    )
