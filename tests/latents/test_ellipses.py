"""Ellipses of pictures that are not square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.latents.ellipses import stretch_ellipse


def points_of(major: float, minor: float, theta: float) -> np.ndarray:
    turn, angle = np.linspace(0, 2 * np.pi, 40), np.radians(theta)
    along, across = major * np.cos(turn), minor * np.sin(turn)
    x = along * np.cos(angle) - across * np.sin(angle)
    return np.stack([x, along * np.sin(angle) + across * np.cos(angle)], 1)


@given(
    st.floats(0.1, 3.0),
    st.floats(0.05, 1.0),
    st.floats(0.0, 179.9),
    st.floats(0.2, 5.0),
    st.floats(0.2, 5.0),
)
def test_points_of_the_ellipse_lie_on_the_stretched_one(major, share, theta, across, down):
    axes = stretch_ellipse(major, major * share, theta, across, down)
    assert axes[0] >= axes[1] > 0 and 0 <= axes[2] < 180
    stretched = points_of(major, major * share, theta) * [across, down]
    angle = np.radians(axes[2])
    along = stretched @ [np.cos(angle), np.sin(angle)]
    beside = stretched @ [-np.sin(angle), np.cos(angle)]
    np.testing.assert_allclose((along / axes[0]) ** 2 + (beside / axes[1]) ** 2, 1.0, atol=1e-6)
    back = stretch_ellipse(*axes, 1 / across, 1 / down)
    assert back[:2] == pytest.approx((major, major * share), rel=1e-6)


def test_equal_factors_change_no_digit_of_the_angle():
    assert stretch_ellipse(0.3, 0.1, 31.7, 1000 / 64, 1000 / 64) == (
        0.3 * (1000 / 64),
        0.1 * (1000 / 64),
        31.7,
    )
