"""The order of detections and their numbers on the grid."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.extract.detection import in_order
from pipelines.extract.detectors.base import Detections
from pipelines.latents.items import first_mention


def detections(*items: tuple[str, float]) -> Detections:
    """Make boxes of 10 pixels at the given left edges."""
    boxes = np.array([(x, 20, x + 10, 30) for _, x in items], np.float32)
    scores = np.linspace(0.9, 0.5, len(items), dtype=np.float32)
    masks = np.zeros((len(items), 64, 64), np.float32)
    masks[np.arange(len(items)), 25, boxes[:, 0].astype(int)] = 1.0
    return Detections(boxes, scores, tuple(label for label, _ in items), masks)


def test_the_caption_orders_labels_and_left_comes_first():
    found = in_order(
        detections(("star", 0), ("circle", 50), ("heart", 10), ("circle", 20)),
        "Two circles and a heart",
    )
    assert found.labels == ("circle", "circle", "heart", "star")
    assert found.boxes[:, 0].tolist() == [20, 50, 10, 0]
    assert found.masks.argmax(2).max(1).tolist() == [20, 50, 10, 0]
    assert found.scores.tolist() == pytest.approx([0.5, 0.9 - 0.4 / 3, 0.9 - 0.8 / 3, 0.9])


def test_the_order_does_not_depend_on_the_scores():
    items = [("star", 0.0), ("circle", 50.0), ("heart", 10.0)]
    caption = "a picture"
    assert in_order(detections(*items), caption).labels == ("star", "heart", "circle")
    assert in_order(detections(*items[::-1]), caption).labels == ("star", "heart", "circle")


@pytest.mark.parametrize(
    ("label", "caption", "place"),
    [
        ("star", "a Star", 2),
        ("star", "two stars", 4),
        ("box", "three boxes", 6),
        ("star", "it starts", 9),
        ("a.b", "axb", 3),
        ("star", "", 0),
    ],
)
def test_labels_are_found_as_words(label, caption, place):
    assert first_mention(label, caption) == place
