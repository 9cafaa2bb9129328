"""How a network's own configuration says that it wants its pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.models.preprocessing import Preprocessing, read_preprocessing

WIDE = np.zeros((20, 40, 3), np.uint8)
WIDE[:, 10:30] = 255


def test_values_are_from_minus_one_to_one():
    preprocessing = Preprocessing(stride=4)
    picture = preprocessing.prepare(WIDE)
    assert picture.shape == (3, 20, 40)
    assert picture.unique().tolist() == [-1.0, 1.0]


def test_the_middle_of_the_scaled_picture_is_taken():
    picture = Preprocessing(stride=4, side=10).prepare(WIDE)
    assert picture.shape == (3, 10, 10)
    assert picture[:, :, 2:-2].mean() > 0.99
    assert Preprocessing(stride=4, side=10).refusal(21, 33) == ""


@pytest.mark.parametrize(
    ("size", "side"),
    [
        ({"size": {"shortest_edge": 512}, "crop_size": {"height": 256, "width": 256}}, 256),
        ({"size": {"height": 384, "width": 384}}, 384),
        ({"size": 64}, 64),
        ({"min_pixels": 262144}, None),
    ],
)
def test_what_a_processor_says_holds(tmp_path, size, side):
    said = size | {"image_mean": [1.0, 1.0, 1.0], "image_std": 0.5, "resample": 1}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    preprocessing = read_preprocessing(tmp_path, Preprocessing(stride=8))
    assert preprocessing == Preprocessing(8, side, 1 / 255, (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), 1)


def test_a_processor_may_lie_in_a_larger_one(tmp_path):
    assert read_preprocessing(tmp_path, Preprocessing(stride=8)) == Preprocessing(stride=8)
    inner = {"image_processor": {"rescale_factor": 0.0078, "size": {"shortest_edge": 512}}}
    (tmp_path / "processor_config.json").write_text(json.dumps(inner))
    assert read_preprocessing(tmp_path, Preprocessing(stride=8)) == Preprocessing(8, 512, 0.0078)
