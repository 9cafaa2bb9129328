"""Boxes of scenes, by the shipped detector."""

from __future__ import annotations

import numpy as np

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.boxes import BoxesStage, to_boxes
from pipelines.extract.detection import Detector, DetectorStage
from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.model import find_detector
from pipelines.latents.boxes import Box, Boxes
from pipelines.scenes.generate import make_records


def ready(stage: DetectorStage) -> DetectorStage:
    stage.setup()
    return stage


def test_boxes_of_scenes_are_those_that_were_drawn():
    records = list(make_records(48, seed=21))
    stage = ready(BoxesStage(Detector(find_detector(str(embedded_path("detector"))), 0.25, 8)))
    asked = found = 0
    for record, outcome in zip(records, stage(records), strict=True):
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
    stage = ready(BoxesStage(Detector(find_detector(str(embedded_path("detector"))), 0.25, 8)))
    pixels = np.full((64, 64, 3), (250, 246, 236), np.uint8)
    (outcome,) = stage([Record("empty", encode_png(pixels), "nothing")])
    assert outcome == Filtered("no object found")


def test_boxes_at_the_border_stay_on_the_grid(untrained):
    stage = ready(BoxesStage(Detector(find_detector(str(untrained)), 0.0, 8)))
    outcomes = stage(list(make_records(4, seed=2)))
    assert all(isinstance(outcome, Ok) for outcome in outcomes)
    for outcome in outcomes:
        outcome.value.validate()
        assert len(outcome.value.items) <= 8


def test_other_weights_or_thresholds_are_another_stage(untrained):
    def options(folder, confidence=0.25, max_objects=8):
        return BoxesStage(
            Detector(find_detector(str(folder)), confidence, max_objects)
        ).spec.options

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
