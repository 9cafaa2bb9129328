import numpy as np
import pytest

from pipelines.evaluate.adherence.matching import Kept, measures, total


def test_pictures_add_up_and_undefined_measures_are_left_out():
    one = Kept(2, ({"iou": 0.6, "angle": float("nan")}, {"iou": 0.8, "angle": 10.0}), 1)
    none = Kept(2, (), 0)
    assert (total([one, none]).asked, total([one, none]).share) == (4, 0.5)
    assert measures("blobs", [one, none], ("iou", "angle")) == {
        "blobs": 0.5,
        "blobs.missing": 1.0,
        "blobs.extra": 0.5,
        "blobs.iou": pytest.approx(0.7),
        "blobs.angle": 10.0,
    }


def test_without_pictures_nothing_is_known():
    assert np.isnan(list(measures("boxes", [], ("iou",)).values())).all()
