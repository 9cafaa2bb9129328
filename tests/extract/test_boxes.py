"""Boxes of scenes, by the shipped detector."""

from __future__ import annotations

import numpy as np

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Ok
from pipelines.data.scenes.generate import make_records
from pipelines.embedded.paths import embedded_path
from pipelines.extract.boxes import BoxesStage


def test_boxes_of_scenes_are_those_that_were_drawn():
    records = list(make_records(48, seed=21))
    stage = BoxesStage(embedded_path("detector"))
    stage.setup()
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
    stage = BoxesStage(embedded_path("detector"))
    pixels = np.full((64, 64, 3), (250, 246, 236), np.uint8)
    (outcome,) = stage([Record("empty", encode_png(pixels), "nothing")])
    assert outcome == Filtered("no object found")


def test_boxes_at_the_border_stay_on_the_grid(untrained):
    stage = BoxesStage(untrained, confidence=0.0)
    outcomes = stage(list(make_records(4, seed=2)))
    assert all(isinstance(outcome, Ok) for outcome in outcomes)
    for outcome in outcomes:
        outcome.value.validate()
        assert len(outcome.value.items) <= 8


def test_other_weights_or_thresholds_are_another_stage(untrained):
    one, other = BoxesStage(untrained), BoxesStage(embedded_path("detector"))
    assert one.spec.options != other.spec.options
    assert one.spec.options != BoxesStage(untrained, confidence=0.5).spec.options
    assert one.spec.options == BoxesStage(untrained).spec.options
