"""Geometry of ellipses in pictures that are not square."""

from __future__ import annotations

import math

import numpy as np


def stretch_ellipse(
    major: float, minor: float, theta: float, across: float, down: float
) -> tuple[float, float, float]:
    """Stretch an ellipse along x and y; the result is an ellipse again.

    Args:
        major: Longer half-axis.
        minor: Shorter half-axis.
        theta: Angle from the x axis to the major axis in degrees, clockwise where y points down.
        across: Factor along x, positive.
        down: Factor along y, positive.

    Returns:
        Half-axes, the longer one first, and the angle in [0, 180).
    """
    if across == down:
        return major * across, minor * across, theta % 180.0
    cos, sin = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    axes = np.array(
        [[across * major * cos, -across * minor * sin], [down * major * sin, down * minor * cos]]
    )
    # The image of the unit circle: the singular values are the half-axes.
    turned, lengths, _ = np.linalg.svd(axes)
    angle = math.degrees(math.atan2(turned[1, 0], turned[0, 0])) % 180.0
    return float(lengths[0]), float(lengths[1]), 0.0 if angle == 180.0 else angle
