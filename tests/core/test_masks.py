from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.masks import around, around_in_fractions


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [
        (slice(2, 3), slice(5, 6), (5, 2, 6, 3)),
        (slice(0, 4), slice(0, 8), (0, 0, 8, 4)),
        (slice(1, 4), slice(3, 5), (3, 1, 5, 4)),
        (slice(0, 0), slice(0, 0), (0, 0, 0, 0)),
    ],
)
def test_the_box_around_a_mask(rows, columns, box):
    mask = np.zeros((4, 8), bool)
    mask[rows, columns] = True
    assert around(mask) == box
    assert around_in_fractions(mask) == (box[0] / 8, box[1] / 4, box[2] / 8, box[3] / 4)


def test_a_box_takes_in_all_parts():
    mask = np.zeros((6, 6), np.float32)
    mask[1, 4] = mask[5, 0] = 0.1
    assert around(mask) == (0, 1, 5, 6)
