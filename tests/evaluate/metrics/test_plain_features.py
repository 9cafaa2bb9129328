import numpy as np
import pytest

from pipelines.evaluate.metrics.diversity import cosine_matrix
from pipelines.evaluate.metrics.plain_features import BINS, SIDE, plain_features, split


def flat(*colours):
    return np.array([np.full((16, 16, 3), colour) for colour in colours], np.uint8)


def test_histograms_of_colours_are_compared_by_what_they_share():
    half = flat((0, 0, 0))
    half[0, :8] = 255
    rows = split(plain_features(np.concatenate([half, half[:, ::-1], flat((0, 0, 0))])))[
        "histogram"
    ]
    assert rows.shape == (3, BINS**3)
    same, shared = cosine_matrix(rows)[0, 1:]
    assert same == pytest.approx(1.0) and shared == pytest.approx(np.sqrt(0.5))


def test_thumbnails_keep_places():
    left = flat((0, 0, 0))
    left[0, :, :8] = 255
    pair = split(plain_features(np.concatenate([left, left[:, :, ::-1]])))["pixels"]
    assert pair.shape == (2, 3 * SIDE**2)
    assert cosine_matrix(pair)[0, 1] == pytest.approx(-1.0, abs=0.01)


def test_no_picture_is_without_a_direction():
    for space in split(plain_features(flat(127, 128, 0, 255))).values():
        assert np.linalg.norm(space, axis=1).min() > 0.0
