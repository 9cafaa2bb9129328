"""Masks to ellipses: moments first, then a search for the greatest IoU, for all masks at once.

BlobGEN (2405.08246) fits a blob's ellipse by maximising its IoU with the mask; the moments give a
start from which a local search needs few rounds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SAMPLES = 32
"""The search compares ellipse and mask at SAMPLES x SAMPLES points around the mask."""

REACH = 1.5
"""These points reach so many times the longer half-axis of the moments' ellipse: to the tips of a
triangle, which lie at 1.41."""

TOGETHER = 32
"""Masks that are searched at once. Fewer pay for more calls of NumPy, more for cache misses."""

FIRST_STEP, LAST_STEP = 0.1, 0.004
"""Steps of the search, as fractions of the half-axes and in radians."""

SHRINK = 3.0
"""A step becomes so many times smaller where no neighbour is better."""


def fit_ellipses(masks: np.ndarray) -> np.ndarray:
    """Fit an ellipse to each mask by greatest IoU.

    Args:
        masks: (n, h, w), probabilities or bool; a pixel belongs to the mask from 0.5 upwards. Each
            mask must hold at least one such pixel.

    Returns:
        Float (n, 5): xc and yc in pixels (the first pixel's centre is 0.5), r_major >= r_minor > 0
        in pixels, theta in degrees in [0, 180), from the x axis towards the y axis.
    """
    masks = np.asarray(masks, dtype=np.float32)
    if not len(masks):
        return np.zeros((0, 5))
    start = moment_ellipses(masks >= 0.5)
    centres, scales = start[:, :2], start[:, 2] * REACH
    unit = start.copy()
    unit[:, :2] = 0.0
    unit[:, 2:4] /= scales[:, None]
    best = np.concatenate(
        [
            _search(unit[part], _sample(masks[part], centres[part], scales[part]))
            for part in (slice(i, i + TOGETHER) for i in range(0, len(masks), TOGETHER))
        ]
    )
    best[:, :2] = best[:, :2] * scales[:, None] + centres
    best[:, 2:4] *= scales[:, None]
    return _canonical(best)


def moment_ellipses(masks: np.ndarray) -> np.ndarray:
    """The ellipse with the same centroid and second moments as each mask.

    Args:
        masks: bool (n, h, w), none of them empty.

    Returns:
        Float (n, 5) as `fit_ellipses`, but theta is in radians.
    """
    weights = np.asarray(masks, dtype=np.float64)
    _, height, width = weights.shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    columns, rows = weights.sum(1), weights.sum(2)
    area = columns.sum(1)
    xc, yc = columns @ x / area, rows @ y / area
    # A pixel is a square of variance 1/12, not a point.
    xx = columns @ x**2 / area - xc**2 + 1.0 / 12.0
    yy = rows @ y**2 / area - yc**2 + 1.0 / 12.0
    xy = ((weights @ x) @ y) / area - xc * yc
    half_trace = (xx + yy) / 2.0
    root = np.hypot((xx - yy) / 2.0, xy)
    major = 2.0 * np.sqrt(half_trace + root)
    minor = 2.0 * np.sqrt(np.maximum(half_trace - root, 1.0 / 12.0))
    return np.stack([xc, yc, major, minor, 0.5 * np.arctan2(2.0 * xy, xx - yy)], axis=1)


def draw_ellipses(ellipses: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Antialiased ellipses: float (n, h, w), the share of each pixel that is covered.

    Args:
        ellipses: (n, 5) as `fit_ellipses` returns them.
        shape: Height and width in pixels.
    """
    x, y = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    radians = ellipses.copy()
    radians[:, 4] = np.deg2rad(ellipses[:, 4])
    flat = _coverage(radians[:, None], np.stack([x.ravel(), y.ravel()]), 1.0)
    return flat.reshape(len(ellipses), *shape)


def overlap(ellipses: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU of antialiased ellipses (n, 5) with masks (n, h, w) in [0, 1]: float (n,)."""
    drawn = draw_ellipses(ellipses, masks.shape[1:])
    return np.minimum(drawn, masks).sum((1, 2)) / np.maximum(drawn, masks).sum((1, 2))


@cache
def _sample_points(count: int) -> np.ndarray:
    """Points of a square grid over [-1, 1]^2: float32 (2, count * count), x then y."""
    axis = (np.arange(count, dtype=np.float32) + 0.5) * 2.0 / count - 1.0
    return np.stack([values.ravel() for values in np.meshgrid(axis, axis)])


def _sample(masks: np.ndarray, centres: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Antialiased masks around their centres: float32 (n, SAMPLES * SAMPLES).

    They are interpolated at four points a sample and cut at 0.5 there. So an edge is as soft as
    that of a drawn ellipse; against a sharp one the best ellipse would be too large.
    """
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    height, width = padded.shape[1:]
    where = centres[:, :, None] + scales[:, None, None] * _sample_points(2 * SAMPLES) + 0.5
    x = np.clip(where[:, 0], 0.0, width - 1.001)
    y = np.clip(where[:, 1], 0.0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    u, v = x - left, y - top
    n = np.arange(len(masks))[:, None]
    upper = padded[n, top, left] * (1 - u) + padded[n, top, left + 1] * u
    lower = padded[n, top + 1, left] * (1 - u) + padded[n, top + 1, left + 1] * u
    inside = (upper * (1 - v) + lower * v >= 0.5).reshape(-1, SAMPLES, 2, SAMPLES, 2)
    return inside.mean((2, 4), dtype=np.float32).reshape(len(masks), -1)


def _search(ellipses: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Move every ellipse to the best of its neighbours, with smaller steps where none is better.

    Neighbours lie one step along each parameter, either way, and where `_tops` expects the best.
    """
    sides = np.concatenate([np.eye(5), -np.eye(5)])
    best, steps = ellipses.copy(), np.full(len(ellipses), FIRST_STEP)
    scores = _iou(best[:, None], targets)[:, 0]
    while (active := np.flatnonzero(steps >= LAST_STEP)).size:
        trials = _moved(best[active], sides, steps[active])
        values = _iou(trials, targets[active])
        tops = _tops(values - scores[active, None])
        jumps = _moved(best[active], tops[:, None], steps[active])
        trials = np.concatenate([trials, jumps], axis=1)
        values = np.concatenate([values, _iou(jumps, targets[active])], axis=1)
        pick = values.argmax(1)
        top = values[np.arange(len(active)), pick]
        better = top > scores[active]
        moved = active[better]
        best[moved] = trials[better, pick[better]]
        scores[moved] = top[better]
        steps[active[~better]] /= SHRINK
    return best


def _tops(gains: np.ndarray) -> np.ndarray:
    """Where the parabola through each parameter's three scores has its top: (n, 5), in steps.

    Args:
        gains: (n, 10), what one step up along each parameter gains over none, then one step down.
    """
    up, down = gains[:, :5], gains[:, 5:]
    bend = up + down
    hollow = bend > -1e-6
    top = np.divide(down - up, 2.0 * bend, out=np.sign(up - down), where=~hollow)
    # A hollow has no top: one step to its higher side, if that is higher than the middle.
    top[hollow & (np.maximum(up, down) <= 0.0)] = 0.0
    return np.clip(top, -2.0, 2.0)


def _moved(ellipses: np.ndarray, moves: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Ellipses (n, k, 5) after moves ([n,] k, 5), counted in steps (n,).

    The centre moves along the axes, the half-axes grow by factors.
    """
    delta = steps[:, None, None] * moves
    cos, sin = np.cos(ellipses[:, 4:]), np.sin(ellipses[:, 4:])
    along, across = delta[..., 0] * ellipses[:, 2:3], delta[..., 1] * ellipses[:, 3:4]
    return np.stack(
        [
            ellipses[:, 0:1] + along * cos - across * sin,
            ellipses[:, 1:2] + along * sin + across * cos,
            ellipses[:, 2:3] * np.exp(delta[..., 2]),
            ellipses[:, 3:4] * np.exp(delta[..., 3]),
            ellipses[:, 4:] + delta[..., 4],
        ],
        axis=2,
    )


def _iou(ellipses: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """IoU (n, k) of ellipses (n, k, 5) with sampled masks (n, SAMPLES * SAMPLES)."""
    drawn = _coverage(ellipses, _sample_points(SAMPLES), 2.0 / SAMPLES)
    both = np.minimum(drawn, targets[:, None]).sum(2)
    return both / (drawn.sum(2) + targets.sum(1)[:, None] - both)


def _coverage(ellipses: np.ndarray, points: np.ndarray, pixel: float) -> np.ndarray:
    """Share of a pixel's width that lies inside, float32 (n, k, points).

    With f = |(u/a, v/b)|, which is 1 on the ellipse, (1 - f) / |grad f| is the distance to it
    to first order.
    """
    xc, yc, a, b, theta = np.moveaxis(ellipses, -1, 0)
    cos, sin = np.cos(theta), np.sin(theta)
    u = _affine(cos / a, sin / a, -(xc * cos + yc * sin) / a, points)
    v = _affine(-sin / b, cos / b, (xc * sin - yc * cos) / b, points)
    u *= u
    v *= v
    f = np.sqrt(u + v)
    u *= np.float32(pixel) ** 2 / (a**2).astype(np.float32)[..., None]
    v *= np.float32(pixel) ** 2 / (b**2).astype(np.float32)[..., None]
    u += v
    u += np.float32(1e-12)
    distance = (1.0 - f) * f
    distance /= np.sqrt(u, out=u)
    distance += 0.5
    return np.where(f < 1e-3, np.float32(1.0), np.clip(distance, 0.0, 1.0, out=distance))


def _affine(x: np.ndarray, y: np.ndarray, offset: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Evaluate x * points[0] + y * points[1] + offset, each (n, k): float32 (n, k, points)."""
    rows = np.stack([x, y, offset], axis=-1).astype(np.float32)
    return rows @ np.concatenate([points, np.ones_like(points[:1])]).astype(np.float32)


def _canonical(ellipses: np.ndarray) -> np.ndarray:
    """Put the longer half-axis first, with its angle in degrees in [0, 180)."""
    turned = ellipses[:, 3] > ellipses[:, 2]
    result = ellipses.copy()
    result[turned, 2], result[turned, 3] = ellipses[turned, 3], ellipses[turned, 2]
    degrees = np.rad2deg(result[:, 4]) + np.where(turned, 90.0, 0.0)
    result[:, 4] = np.mod(degrees, 180.0)
    return result
