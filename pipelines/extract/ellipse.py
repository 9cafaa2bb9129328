"""Ellipses of masks: from moments, then by gradient ascent on the IoU, for many masks at once.

BlobGEN (2405.08246) fits a blob's ellipse by maximising its IoU with the mask. Here an ellipse is
the unit circle under an affine map of homogeneous coordinates, (x, y, 1) = map @ (u, v, 1). A mask
is sampled in the coordinates in which the current ellipse is that circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

SAMPLES = 640
"""Points at which a mask is sampled."""

REACH = 1.5
"""Extent of the samples in half-axes of the current ellipse: to the corners of a triangle, at 1.41
half-axes of the ellipse of its moments."""

SHARPNESS = 3.0
"""Slope of a sampled mask at its outline, in 1/pixel. A smaller one blurs masks of few pixels; a
larger one leaves few samples with a gradient."""

FAR, NEAR = (0.4,) * 8, tuple(np.linspace(0.4, 0.08, 8).tolist())
"""Width of the band around the ellipse in each round of the two ascents, in half-axes; the last is
about the distance between samples."""

STEP = 2.0
"""Step of a round, in widths. No ellipse shrinks to nothing while their product is below 0.82."""

TOGETHER = 80
"""Masks per batch. Smaller batches cost more calls of NumPy; for larger ones OpenBLAS would use
threads, which takes ten times as long where these have to wait for a core."""


def fit_ellipses(masks: np.ndarray) -> np.ndarray:
    """Fit an ellipse to each mask by greatest IoU.

    Args:
        masks: (n, h, w), probabilities or bool; a pixel belongs to the mask from 0.5 upwards. Each
            mask must hold at least one such pixel.

    Returns:
        Float (n, 5): xc and yc in pixels (the first pixel's centre is 0.5), r_major >= r_minor > 0
        in pixels, theta in degrees in [0, 180), from the x axis towards the y axis.
    """
    found = np.zeros((len(masks), 5))
    for start in range(0, len(masks), TOGETHER):
        part = np.asarray(masks[start : start + TOGETHER], dtype=np.float32)
        maps = _maps(moment_ellipses(part >= 0.5))
        for widths in (FAR, NEAR):
            maps = maps @ _climb(_sample(part, maps), widths)
        found[start : start + TOGETHER] = _ellipses(maps)
    return found


def moment_ellipses(masks: np.ndarray) -> np.ndarray:
    """Return the ellipse with the same centroid and second moments as each mask.

    Args:
        masks: bool (n, h, w), none of them empty.

    Returns:
        Float (n, 5) as `fit_ellipses`, but theta is in radians.
    """
    _, height, width = masks.shape
    rows = masks.astype(np.float32) @ _powers(width)
    sums = _powers(height).T @ rows.astype(float)
    (_, x, xx), (y, xy, _), (yy, _, _) = np.moveaxis(sums / sums[:, :1, :1], 0, 2)
    # A pixel is a square of variance 1/12, not a point.
    axes = _axes(xx - x * x + 1.0 / 12.0, yy - y * y + 1.0 / 12.0, xy - x * y)
    return np.stack([x + width / 2.0, y + height / 2.0, *axes], axis=1)


def draw_ellipses(ellipses: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draw antialiased ellipses: float (n, h, w), the covered share of each pixel.

    With f = |(u, v)|, which is 1 on the ellipse, (1 - f) / |grad f| is the distance to it to first
    order.

    Args:
        ellipses: (n, 5) as `fit_ellipses` returns them.
        shape: Height and width in pixels.
    """
    radians = ellipses.copy()
    radians[:, 4] = np.deg2rad(ellipses[:, 4])
    x, y = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)]).astype(np.float32)
    inverse = np.linalg.inv(_maps(radians))[:, :2].astype(np.float32)
    uu, vv = np.square(inverse @ points).swapaxes(0, 1)
    f = np.sqrt(uu + vv)
    major, minor = ellipses[:, 2:4].astype(np.float32).T[:, :, None]
    distance = (1.0 - f) * f / np.sqrt(uu * major**-2 + vv * minor**-2 + 1e-12)
    covered = np.where(f < 1e-3, 1.0, np.clip(distance + 0.5, 0.0, 1.0))
    return covered.reshape(len(ellipses), *shape)


def overlap(ellipses: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU of antialiased ellipses (n, 5) with masks (n, h, w) in [0, 1]: float (n,)."""
    drawn = draw_ellipses(ellipses, masks.shape[1:])
    return np.minimum(drawn, masks).sum((1, 2)) / np.maximum(drawn, masks).sum((1, 2))


def _powers(count: int) -> np.ndarray:
    """Return powers 0, 1, 2 of the pixels' distances to the middle: float32 (count, 3)."""
    return np.vander(np.arange(count) + 0.5 - count / 2.0, 3, increasing=True).astype(np.float32)


def _axes(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, ...]:
    """Half-axes and angle in radians of ellipses of these second moments, as arrays (n,)."""
    half_trace, root = (xx + yy) / 2.0, np.hypot((xx - yy) / 2.0, xy)
    theta = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    return 2.0 * np.sqrt(half_trace + root), 2.0 * np.sqrt(half_trace - root), theta


def _maps(ellipses: np.ndarray) -> np.ndarray:
    """Maps (n, 3, 3) from the unit circle to ellipses (n, 5) with theta in radians."""
    xc, yc, major, minor, theta = ellipses.T
    cos, sin = np.cos(theta), np.sin(theta)
    maps = np.zeros((len(ellipses), 3, 3))
    maps[:, 0] = np.stack([major * cos, -minor * sin, xc], axis=1)
    maps[:, 1] = np.stack([major * sin, minor * cos, yc], axis=1)
    maps[:, 2, 2] = 1.0
    return maps


def _ellipses(maps: np.ndarray) -> np.ndarray:
    """Invert `_maps`, with theta in degrees in [0, 180)."""
    moments = maps[:, :2, :2] @ maps[:, :2, :2].mT / 4.0
    major, minor, theta = _axes(moments[:, 0, 0], moments[:, 1, 1], moments[:, 0, 1])
    # The second modulo: adding 180 to a tiny negative angle gives 180 itself.
    degrees = np.rad2deg(theta) % 180.0 % 180.0
    return np.stack([maps[:, 0, 2], maps[:, 1, 2], major, minor, degrees], axis=1)


@cache
def _points() -> np.ndarray:
    """The samples in homogeneous coordinates: float32 (3, SAMPLES).

    They are arranged like the seeds of a sunflower (Vogel 1979): evenly, and not in rows, because
    an outline along a row would have all its samples on one side.
    """
    seeds = np.arange(SAMPLES) + 0.5
    radius, angle = REACH * np.sqrt(seeds / SAMPLES), seeds * np.pi * (3.0 - np.sqrt(5.0))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(SAMPLES)])
    return points.astype(np.float32)


@cache
def _products() -> np.ndarray:
    """Return all products of two coordinates of each sample: float32 (9, SAMPLES)."""
    return (_points()[:, None] * _points()).reshape(9, -1)


def _sample(masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return masks at the mapped samples, interpolated and thresholded: float32 (n, SAMPLES)."""
    n, height, width = masks.shape
    row = width + 2
    pixels = np.pad(masks, ((0, 0), (1, 1), (1, 1))).ravel()
    places = maps[:, :2].astype(np.float32) @ _points()
    places += 0.5
    x, y = places.swapaxes(0, 1)
    np.clip(x, 0.0, width + 0.99, out=x)
    np.clip(y, 0.0, height + 0.99, out=y)
    corners = np.floor(places)
    places -= corners
    first = corners[:, 1].astype(int)
    first += np.arange(n)[:, None] * (height + 2)
    first *= row
    first += corners[:, 0].astype(int)
    upper = _between(pixels[first], pixels[1:][first], x)
    lower = _between(pixels[row:][first], pixels[row + 1 :][first], x)
    sampled = _between(upper, lower, y)
    sampled -= 0.5
    sampled *= SHARPNESS
    sampled += 0.5
    return np.clip(sampled, 0.0, 1.0, out=sampled)


def _between(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate in place, into `other`: allocating arrays costs more here than the arithmetic."""
    other -= one
    other *= share
    other += one
    return other


def _climb(targets: np.ndarray, widths: Sequence[float]) -> np.ndarray:
    """Transform the unit circle towards the greatest IoU with each sampled mask.

    Where the mask is m and the outline moves outwards by d, the intersection I grows by m d and the
    union U by (1 - m) d. So the IoU grows where m exceeds I / (I + U). It is greatest where this
    excess, summed along the outline, is zero for each of an ellipse's five motions.

    Args:
        targets: Sampled masks (n, SAMPLES).
        widths: One per round, in half-axes.

    Returns:
        Maps (n, 3, 3) from the unit circle to the ellipses found.
    """
    inverse = np.tile(np.eye(3, dtype=np.float32), (len(targets), 1, 1))
    areas = targets.sum(1)
    for width in widths:
        covered = _covered(inverse, width)
        balance = np.vecdot(covered, targets) / (covered.sum(1) + areas)
        outline = 1.0 - covered
        outline *= covered
        excess = targets - balance[:, None]
        excess *= outline
        sums = inverse @ (excess @ _products().T).reshape(-1, 3, 3) @ inverse.mT
        sums *= STEP * width / (outline.sum(1)[:, None, None] + 1e-6)
        # The motions u, v, uu - vv and 2uv have a mean square of 1/2 on the circle, growth has 1.
        motion = 4.0 * sums[:, :2]
        motion[:, :, 2] /= 2.0
        motion -= (sums[:, :1, :1] + sums[:, 1:2, 1:2]) * np.eye(2, 3, dtype=np.float32)
        inverse[:, :2] -= motion @ inverse
    return np.linalg.inv(inverse)


def _covered(inverse: np.ndarray, width: float) -> np.ndarray:
    """Return how far samples lie inside ellipses: float32 (n, SAMPLES), from 0 to 1.

    Args:
        inverse: Maps (n, 3, 3) from the ellipses to the unit circle.
        width: To either side of the outline, in half-axes, over which it rises.
    """
    # 1 - uu - vv is twice the distance to the unit circle, to first order.
    conics = inverse[:, :2].mT @ inverse[:, :2] * (-0.25 / width)
    conics[:, 2, 2] += 0.5 + 0.25 / width
    inside = conics.reshape(-1, 9) @ _products()
    return np.clip(inside, 0.0, 1.0, out=inside)
