import numpy as np
import pytest

from pipelines.latents.matching import best_pairs, iou


def test_pairs_are_one_to_one_and_the_greatest_overlap_goes_first():
    overlaps = np.array([[0.9, 0.95, 0.0], [0.0, 0.8, 0.6]])
    assert best_pairs(overlaps) == [(0, 1), (1, 2)]
    assert best_pairs(overlaps, least=0.7) == [(0, 1)]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_pairs_with_nothing(shape):
    assert best_pairs(np.zeros(shape)) == []


def test_iou_of_halves_equals_and_strangers():
    assert iou((0, 0, 4, 4), (0, 0, 4, 2)) == 0.5
    assert iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1.0
    assert iou((0, 0, 4, 4), (4, 0, 8, 4)) == iou((1, 1, 1, 1), (1, 1, 1, 1)) == 0.0
