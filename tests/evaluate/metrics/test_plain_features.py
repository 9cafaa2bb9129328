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


def test_features_are_their_formula():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8, :, 0], image[8:, :, 1:] = 255, (64, 130)
    parts = split(plain_features(image[None]))
    histogram, pixels = parts["histogram"][0], parts["pixels"][0]
    assert histogram.shape == (64,) and pixels.shape == (3 * 8 * 8,)
    red, other = 3 * 16, 1 * 4 + 2
    assert set(histogram.nonzero()[0]) == {red, other}
    assert histogram[[red, other]] == pytest.approx([0.5**0.5] * 2)
    rows = pixels.reshape(8, 8, 3)
    assert rows[:4].reshape(-1, 3) == pytest.approx(
        np.tile([(255 - 127.3) / 128, -127.3 / 128, -127.3 / 128], (32, 1))
    )
    assert rows[4:, :, 1:].reshape(-1, 2) == pytest.approx(
        np.tile([(64 - 127.3) / 128, (130 - 127.3) / 128], (32, 1))
    )
