"""Colours of elements: right inside masks, and in boxes in spite of what is behind."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.colours import colours_in_box, colours_in_mask, find_colours, to_colours
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.find import find_detector
from pipelines.extract.objects import ObjectsStage
from pipelines.latents.oklab import hex_to_oklab
from pipelines.scenes.draw import RGB
from pipelines.scenes.generate import make_records

GREY, RED, BLUE = (200, 200, 200), (220, 40, 40), (45, 85, 215)


def canvas(**rows):
    """A grey picture, 40 pixels a side, with rectangles in some colours."""
    image = np.full((40, 40, 3), GREY, np.uint8)
    for colour, (x1, y1, x2, y2) in rows.items():
        image[y1:y2, x1:x2] = {"red": RED, "blue": BLUE}[colour]
    return image


def detections(*boxes, masks=None):
    count = len(boxes)
    return Detections(np.array(boxes, np.float32), np.ones(count), tuple("abc"[:count]), masks)


def test_a_mask_of_another_size_finds_its_pixels():
    image = canvas(red=(0, 0, 20, 40), blue=(20, 0, 40, 40))
    mask = np.zeros((10, 20), bool)
    mask[:, :10] = True
    assert colours_in_mask(image, mask) == ["#dc2828"]
    assert colours_in_mask(image, ~mask) == ["#2d55d7"]
    mask[:, 10:14] = True
    assert colours_in_mask(image, mask) == ["#dc2828", "#2d55d7"]
    mask[:, 12:] = False
    assert colours_in_mask(image, mask) == ["#dc2828"], "a sixth of it is an edge, not a colour"


def test_what_is_around_a_box_is_not_the_colour_of_its_object():
    image = canvas(red=(16, 10, 24, 30))  # two fifths of the box
    assert colours_in_box(image, (0.25, 0.25, 0.75, 0.75))[0] == "#dc2828"
    assert colours_in_box(canvas(), (0.25, 0.25, 0.75, 0.75)) == ["#c8c8c8"], (
        "or it is all there is"
    )


def test_an_empty_mask_gives_way_to_the_box_so_that_no_item_is_lost():
    image = canvas(red=(0, 0, 10, 10), blue=(20, 20, 40, 40))
    masks = np.zeros((2, 40, 40), np.float32)
    masks[1, 20:, 20:] = 1
    found = to_colours(detections((0, 0, 10, 10), (20, 20, 40, 40), masks=masks), image)
    assert [(item.label, item.hexes) for item in found.items] == [
        ("a", ("#DC2828",)),
        ("b", ("#2D55D7",)),
    ]


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (39.9, 39.9, 40, 40), (0, 0, 40, 40)])
def test_any_box_has_a_colour(box):
    image = canvas()
    (outcome,) = find_colours([detections(box)], [Record("k", encode_png(image), "x")])
    assert isinstance(outcome, Ok) and outcome.value.items[0].hexes == ("#C8C8C8",)


def test_a_picture_without_objects_is_filtered():
    record = Record("k", encode_png(canvas()), "x")
    (outcome,) = find_colours([detections()], [record])
    assert isinstance(outcome, Filtered)


def test_colours_of_scenes_are_those_that_were_drawn():
    """With masks and without, one of the two is the shape's: stripes may be mostly pale."""
    records = list(make_records(24, seed=4))
    detector = Detector(find_detector(str(embedded_path("detector"))), 0.25, 8)
    stage = ObjectsStage(detector, ["boxes", "colours"])
    stage.setup()
    found = stage.compute(records, ["boxes", "colours"])
    right = {"masks": 0, "boxes": 0}
    total = 0
    for record, boxes, colours in zip(records, found["boxes"], found["colours"], strict=True):
        if not isinstance(colours, Ok):
            continue
        assert [b.label for b in boxes.value.items] == [c.label for c in colours.value.items]
        truth = {(o["shape"], o["colour"]) for o in record.meta["truth"]["objects"]}
        for box, item in zip(boxes.value.items, colours.value.items, strict=True):
            corners = tuple(value / 1000 for value in (box.x1, box.y1, box.x2, box.y2))
            total += 1
            for name, measured in (
                ("masks", item.hexes),
                ("boxes", colours_in_box(record.pixels, corners)[:2]),
            ):
                right[name] += any((box.label, nearest(each)) in truth for each in measured)
    assert total > 30
    assert right["masks"] >= 0.95 * total and right["boxes"] >= 0.95 * total, (right, total)


def nearest(colour):
    lab = hex_to_oklab(colour)
    names = {name: hex_to_oklab("#" + bytes(rgb).hex()) for name, rgb in RGB.items()}
    return min(names, key=lambda name: np.linalg.norm(names[name] - lab))
