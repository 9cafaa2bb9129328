from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.masks import around, around_in_fractions, pixels_of_runs, run_lengths


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


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_pixels_of_run_lengths_are_the_masks(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    counts = run_lengths(mask.T)
    assert sum(counts[1::2]) == mask.sum() and sum(counts) == mask.size
    xs, ys = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    assert np.array_equal(pixels_of_runs(counts, mask.shape, xs, ys), mask)
    wide = pixels_of_runs(counts, mask.shape, np.array([-0.1, *xs, 1.0]), np.array([*ys, 1.5]))
    assert np.array_equal(wide[:-1, 1:-1], mask) and wide.sum() == mask.sum(), "nothing outside"


def test_a_giant_mask_is_read_without_unpacking_it():
    side = 1_000_000
    counts = [side * side // 2, side * side // 2]
    centres = np.array([0.25, 0.75])
    found = pixels_of_runs(counts, (side, side), centres, centres)
    assert found.tolist() == [[False, True], [False, True]], "column by column"
