"""Boxes: edits. Text and bytes are in test_items.py."""

from __future__ import annotations

import pytest

from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.text import LatentError

CIRCLE = Box("circle", 120, 330, 410, 620)
STAR = Box("star", 500, 500, 600, 700)
BOXES = Boxes((CIRCLE, STAR))


@pytest.mark.parametrize(
    ("change", "items"),
    [
        ({"move": 1, "by": [10, -20]}, (CIRCLE, Box("star", 510, 480, 610, 680))),
        ({"resize": 0, "to": [1, 2, 3, 4]}, (Box("circle", 1, 2, 3, 4), STAR)),
        ({"relabel": 0, "as": "ring"}, (Box("ring", 120, 330, 410, 620), STAR)),
        ({"add": "dot", "at": (0, 0, 9, 9)}, (CIRCLE, STAR, Box("dot", 0, 0, 9, 9))),
        ({"remove": 0}, (STAR,)),
    ],
)
def test_edits(change, items):
    assert BOXES.edit(change) == Boxes(items)
    assert Boxes((CIRCLE, STAR)) == BOXES


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"paint": 0},
        {"move": 0},
        {"move": 0, "by": [1, 2], "to": [3, 4]},
        {"move": 2, "by": [1, 2]},
        {"move": -1, "by": [1, 2]},
        {"move": True, "by": [1, 2]},
        {"move": 0, "by": [1]},
        {"move": 0, "by": "12"},
        {"move": 0, "by": [0.5, 1]},
        {"resize": 0, "to": [1, 2, 3]},
        {"add": "dot", "at": [1, 2, 3]},
        {"remove": [0]},
    ],
)
def test_a_bad_change_lists_the_allowed_ones(change):
    with pytest.raises(LatentError) as caught:
        BOXES.edit(change)
    assert all(form in caught.value.hint for _, form in Boxes.changes.values())


@pytest.mark.parametrize(
    "change",
    [
        {"move": 0, "by": [-121, 0]},
        {"resize": 0, "to": [5, 0, 5, 9]},
        {"relabel": 0, "as": ""},
        {"relabel": 0, "as": None},
        {"add": 7, "at": [0, 0, 1, 1]},
    ],
)
def test_an_edit_never_makes_an_invalid_latent(change):
    with pytest.raises(LatentError):
        BOXES.edit(change)


def test_the_last_item_stays():
    with pytest.raises(LatentError):
        Boxes((CIRCLE,)).edit({"remove": 0})
    with pytest.raises(LatentError, match="16"):
        Boxes([CIRCLE] * 15).edit({"add": "dot", "at": [0, 0, 1, 1]})
