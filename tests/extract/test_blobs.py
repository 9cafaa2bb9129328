"""Blobs of scenes, by the shipped detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.blobs import to_blob
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.find import find_detector
from pipelines.extract.ellipse import draw_ellipses, fit_ellipses
from pipelines.extract.objects import ObjectsStage
from pipelines.latents.blobs import Blob
from pipelines.scenes.generate import make_records, mask_from_runs


def ready(folder: Path, confidence: float) -> ObjectsStage:
    detector = Detector(find_detector(str(folder)), confidence, 8)
    stage = ObjectsStage(detector, ["boxes", "blobs"])
    stage.setup()
    return stage


@pytest.fixture(scope="module")
def extracted():
    records = list(make_records(48, seed=22))
    found = ready(embedded_path("detector"), 0.25).compute(records, ["boxes", "blobs"])
    return records, found["boxes"], found["blobs"]


def test_blobs_have_the_labels_and_order_of_boxes(extracted):
    for boxes, blobs in zip(*extracted[1:], strict=True):
        assert type(boxes) is type(blobs)
        if isinstance(boxes, Ok):
            assert [box.label for box in boxes.value.items] == [
                blob.label for blob in blobs.value.items
            ]


def test_blobs_are_nearly_as_good_as_those_of_the_true_masks(extracted):
    records, _, outcomes = extracted
    ours, best = [], []
    for record, outcome in zip(records, outcomes, strict=True):
        if not isinstance(outcome, Ok):
            continue
        rows = [(b.xc, b.yc, b.r_major, b.r_minor, b.theta) for b in outcome.value.items]
        ellipses = np.array(rows) * (0.064, 0.064, 0.064, 0.064, 1.0)
        for item in record.meta["truth"]["objects"]:
            if item["visible"] == 1.0:
                mask = mask_from_runs(item["mask"], 64)
                ours.append(overlaps(ellipses, mask).max())
                best.append(overlaps(fit_ellipses(mask[None]), mask).max())
    assert len(ours) > 40
    assert np.mean(ours) > np.mean(best) - 0.03


def overlaps(ellipses: np.ndarray, mask: np.ndarray) -> np.ndarray:
    drawn = draw_ellipses(ellipses, mask.shape) >= 0.5
    return (drawn & mask).sum((1, 2)) / (drawn | mask).sum((1, 2))


def test_a_picture_that_is_not_square_fails_with_a_reason(untrained):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)
    wide = Record("wide", encode_png(pixels), "noise")
    square = next(make_records(1, seed=3))
    stage = ready(untrained, 0.0)
    failed, ok = stage.compute([wide, square], ["blobs"])["blobs"]
    assert failed == Failed("blobs need a square image; this one has 64 x 32 pixels")
    assert stage.compute([square], ["blobs"]) == {"blobs": [ok]}


@pytest.mark.parametrize(
    ("ellipse", "blob"),
    [
        ((32.0, 16.0, 16.0, 8.0, 30.4), Blob("x", 500, 250, 250, 125, 30)),
        ((32.0, 16.0, 16.0, 8.0, 179.8), Blob("x", 500, 250, 250, 125, 0)),
        ((32.0, 16.0, 16.4, 16.0, 77.0), Blob("x", 500, 250, 253, 253, 0)),
        ((-3.0, 70.0, 90.0, 0.01, 5.0), Blob("x", 0, 1000, 1000, 1, 5)),
    ],
)
def test_ellipses_on_the_grid(ellipse, blob):
    assert to_blob("x", np.array(ellipse), 64) == blob
