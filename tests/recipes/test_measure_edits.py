"""Measuring whether edits are seen, and whether the rest of the picture stays."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.documents.edit import move, recolour, remove
from pipelines.documents.projection import document_of
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.boxes import Box, Boxes
from recipes.measure_edits import MARGIN, Edit, change_outside, confirms

OLD, NEW, OTHER = (100, 100, 300, 300), (600, 100, 800, 300), (100, 600, 300, 800)
DOCUMENT = document_of({"boxes": Boxes((Box("star", *OLD), Box("star", *OTHER)))}, shape=(100, 100))
STAR = DOCUMENT.elements[0]
MOVED = Edit("move", 0, STAR, move(DOCUMENT, "e0", 500, 0))
REMOVED = Edit("remove", 0, STAR, remove(DOCUMENT, "e0"))
RECOLOURED = Edit("recolour", 0, STAR, recolour(DOCUMENT, "e0", "#0000FF"), "blue")


def verdict(*boxes, label="star", colour="red"):
    return Verdict(tuple(FoundObject(label, box, 1.0, {"colour": colour}) for box in boxes))


@pytest.mark.parametrize(
    ("edit", "seen", "expected"),
    [
        (MOVED, verdict(NEW, OTHER), True),
        (MOVED, verdict(NEW), True),
        (MOVED, verdict(OLD, OTHER), False),
        (MOVED, verdict(OLD, NEW, OTHER), False),
        (MOVED, verdict(NEW, OTHER, label="circle"), False),
        (REMOVED, verdict(OTHER), True),
        (REMOVED, verdict(OLD, OTHER), False),
        (RECOLOURED, verdict(OLD, OTHER), False),
        (RECOLOURED, verdict(OLD, colour="blue"), True),
        (RECOLOURED, verdict(OTHER, colour="blue"), False),
    ],
)
def test_an_edit_is_confirmed_by_what_is_found_and_what_is_gone(edit, seen, expected):
    assert confirms(edit, seen) is expected


def test_the_change_outside_leaves_out_both_boxes_and_a_margin():
    before = np.zeros((100, 100, 3), np.uint8)
    after = before.copy()
    for x1, y1, x2, y2 in (OLD, NEW):
        after[y1 // 10 - MARGIN : y2 // 10 + MARGIN, x1 // 10 - MARGIN : x2 // 10 + MARGIN] = 255
    assert change_outside(MOVED, before, after) == 0
    after[90, 90] = 255
    inside = 2 * (20 + 2 * MARGIN) ** 2
    assert change_outside(MOVED, before, after) == pytest.approx(1 / (100**2 - inside))
    assert change_outside(REMOVED, before, after) > change_outside(MOVED, before, after)
