"""Blobs of scenes, by the shipped detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.blobs import to_blob
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.find import find_detector
from pipelines.extract.ellipse import draw_ellipses, fit_ellipses
from pipelines.extract.objects import ObjectsStage
from pipelines.latents.blobs import Blob, Blobs
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


def test_pictures_of_different_shapes_in_one_batch_are_seen_as_alone(untrained):
    rng = np.random.default_rng(0)
    shapes = [(32, 64, 3), (64, 64, 3), (90, 40, 3)]
    pictures = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]
    records = [Record(f"r{n}", encode_png(pixels), "noise") for n, pixels in enumerate(pictures)]
    stage = ready(untrained, 0.0)
    for kind in ("blobs", "boxes"):
        together = stage.compute(records, [kind])[kind]
        assert all(isinstance(outcome, Ok) for outcome in together)
        alone = [stage.compute([record], [kind])[kind][0] for record in records]
        assert together == alone


@pytest.mark.parametrize("shape", [(60, 60), (40, 100), (120, 50)])
def test_a_blob_is_a_fraction_of_the_picture_whatever_its_shape(shape):
    """Drawn back over a picture of the shape, it covers the mask that it was fitted to."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width] + 0.5
    u, v = (x - 0.45 * width) / 12, (y - 0.5 * height) / 7
    mask = (u + 0.5 * v) ** 2 + v**2 <= 1
    blob = to_blob("x", fit_ellipses(mask[None])[0], height, width)
    canvas = Image.new("1", (width, height))
    corners = blob.outline() * [width / 1000, height / 1000]
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in corners], fill=1)
    filled = np.asarray(canvas)
    assert (filled & mask).sum() / (filled | mask).sum() > 0.85
    numbers = (blob.xc, blob.yc, blob.r_major, blob.r_minor, blob.theta)
    columns, rows = np.flatnonzero(mask.any(0)) / width, np.flatnonzero(mask.any(1)) / height
    edges = (columns[0], rows[0], columns[-1], rows[-1])
    assert Blobs.rect(numbers) == pytest.approx(edges, abs=0.06)


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
    assert to_blob("x", np.array(ellipse), 64, 64) == blob
