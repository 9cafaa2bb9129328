"""Blobs: rules, outlines and edits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.text import LatentError

BLOB = Blob("leaf", 500, 400, 200, 100, 30)


@pytest.mark.parametrize(
    ("blob", "names"),
    [
        (Blob("x", 0, 0, 0, 0, 0), "r_major .*0"),
        (Blob("x", 0, 0, 5, 0, 0), "r_minor .*0.* 1 to 5"),
        (Blob("x", 0, 0, 5, 6, 0), "r_minor .*6.* 1 to 5"),
        (Blob("x", 0, 0, 5, 5, 180), "theta .*180.* 0 to 179"),
        (Blob("x", 0, 1001, 5, 5, 0), "yc .*1001"),
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_bounds(blob, names):
    with pytest.raises(LatentError, match=names):
        Blobs((blob,))


def test_text_form():
    assert Blobs((BLOB,)).to_text() == "leaf <500><400><200><100><30>"
    assert Blobs.from_text("leaf (500, 400, 200, 100, 30)") == Blobs((BLOB,))


@settings(deadline=None)
@given(theta=st.integers(0, 179), r_major=st.integers(1, 1000), data=st.data())
def test_outline_lies_on_the_ellipse(theta, r_major, data):
    r_minor = data.draw(st.integers(1, r_major))
    offset = Blob("x", 300, 600, r_major, r_minor, theta).outline(40) - (300, 600)
    angle = np.radians(theta)
    along = offset @ (np.cos(angle), np.sin(angle))
    across = offset @ (-np.sin(angle), np.cos(angle))
    assert np.allclose((along / r_major) ** 2 + (across / r_minor) ** 2, 1)
    assert np.isclose(np.abs(along).max(), r_major)


def test_theta_grows_from_x_towards_y_which_points_down():
    farthest = Blob("x", 0, 0, 100, 10, 45).outline(360)[0]
    assert np.allclose(farthest, 100 / np.sqrt(2))
