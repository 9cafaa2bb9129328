from collections import Counter

import numpy as np

from pipelines.evaluate.adherence.boxes import (
    agrees,
    box_adherence,
    boxes_of,
    count_boxes,
    parses,
    same_count,
    same_shapes,
)
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.sequence import z_to_text


def found(shape, *box):
    return FoundObject(shape, box, 0.9)


def z_of(*boxes):
    return z_to_text({"boxes": Boxes(boxes)})


def test_a_box_is_found_only_with_its_label_and_enough_overlap():
    asked = [Box("circle", 100, 100, 300, 300)]
    assert count_boxes(asked, [found("circle", 110, 100, 310, 300)]).found == 1
    assert count_boxes(asked, [found("star", 100, 100, 300, 300)]).found == 0
    # Half a box beside it: IoU 1/3.
    assert count_boxes(asked, [found("circle", 200, 100, 400, 300)]).found == 0
    assert count_boxes(asked, [found("circle", 100, 100, 300, 200)]).found == 1


def test_one_object_answers_for_one_box_and_the_best_overlap_goes_first():
    asked = [Box("circle", 0, 0, 100, 100), Box("circle", 0, 0, 100, 90)]
    count = count_boxes(asked, [found("circle", 0, 0, 100, 90)])
    assert (count.asked, count.found, count.extra) == (2, 1, 0)
    two = count_boxes(asked, [found("circle", 0, 0, 100, 90), found("circle", 0, 0, 100, 100)])
    assert (two.found, two.extra) == (2, 0)


def test_counts_add_over_pictures_and_extras_are_named():
    texts = [z_of(Box("circle", 0, 0, 100, 100)), z_of(Box("star", 0, 0, 100, 100))]
    verdicts = [
        Verdict((found("circle", 0, 0, 100, 100), found("heart", 0, 0, 50, 50)), "paper"),
        Verdict((), "paper"),
    ]
    texts.append("")
    verdicts.append(Verdict((found("oval", 0, 0, 9, 9),), "paper"))
    got = box_adherence(texts, verdicts)
    assert got == {"boxes": 0.5, "boxes.missing": 0.5, "boxes.extra": 0.5, "boxes.iou": 1.0}
    assert np.isnan(list(box_adherence([""], [Verdict((), "paper")]).values())).all()


def test_z_agrees_with_the_caption_when_shapes_and_counts_do():
    z = z_of(Box("circle", 0, 0, 100, 100), Box("circle", 200, 0, 300, 100))
    assert agrees(z, Counter(circle=2))
    assert not agrees(z, Counter(circle=1))
    assert not agrees(z, Counter(circle=2, star=1))


def test_count_and_shapes_may_agree_apart():
    z = z_of(Box("circle", 0, 0, 100, 100), Box("star", 200, 0, 300, 100))
    assert same_count(z, Counter(circle=2)) and not same_shapes(z, Counter(circle=2))
    assert same_shapes(z, Counter(circle=2, star=1)) and not same_count(
        z, Counter(circle=2, star=1)
    )
    swapped = Counter(circle=1, star=2)
    z = z_of(*(Box("circle", x, 0, x + 100, 100) for x in (0, 200)), Box("star", 400, 0, 500, 100))
    assert same_count(z, swapped) and same_shapes(z, swapped) and not agrees(z, swapped)


def test_a_z_that_does_not_parse_has_no_boxes():
    assert not parses("<boxes> circle <9><9>")
    assert boxes_of("<boxes> circle <9><9>") == ()
    assert boxes_of("") == () and parses("")
