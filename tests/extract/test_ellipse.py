"""Ellipses of masks: exact on ellipses, as good as can be on other shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.extract.ellipse import (
    TOGETHER,
    draw_ellipses,
    fit_ellipses,
    moment_ellipses,
    overlap,
)
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import Scene, SceneObject

BEST = {
    "circle": 0.999,
    "square": 0.839,
    "oval": 0.996,
    "star": 0.721,
    "hexagon": 0.932,
    "heart": 0.807,
    "triangle": 0.698,
}
"""IoU of the best ellipse, found by differential evolution on renders of 160 pixels."""


def mask_of(shape: str, size: int, radius: float = 0.165, rotation: float = 20.0) -> np.ndarray:
    item = SceneObject(shape, "red", "plain", "medium", 0.52, 0.47, radius, rotation)
    return draw_scene(Scene((item,), "centre", "paper"), size).masks[0]


def iou(ellipse: np.ndarray, mask: np.ndarray) -> float:
    drawn = draw_ellipses(ellipse[None], mask.shape)[0] >= 0.5
    return float((drawn & mask).sum() / (drawn | mask).sum())


@settings(max_examples=30, deadline=None)
@given(
    xc=st.floats(20, 44),
    yc=st.floats(20, 44),
    major=st.floats(6, 18),
    ratio=st.floats(0.4, 0.85),
    theta=st.floats(0, 179.9),
)
def test_a_drawn_ellipse_is_found_again(xc, yc, major, ratio, theta):
    truth = np.array([xc, yc, major, major * ratio, theta])
    (found,) = fit_ellipses(draw_ellipses(truth[None], (64, 64)))
    assert np.abs(found[:4] - truth[:4]).max() < 0.35
    turn = (found[4] - theta + 90.0) % 180.0 - 90.0
    assert abs(turn) * (1.0 - ratio) < 2.0


@pytest.mark.parametrize("shape", BEST)
def test_every_shape_comes_near_its_best_ellipse(shape):
    mask = mask_of(shape, 160, radius=0.3)
    (found,) = fit_ellipses(mask[None])
    assert iou(found, mask) >= BEST[shape] - 0.012


@pytest.mark.parametrize("shape", ["square", "star", "heart", "triangle"])
def test_the_search_improves_on_the_moments(shape):
    masks = np.stack([mask_of(shape, 64, rotation=turn) for turn in (-25.0, 0.0, 10.0)])
    start = moment_ellipses(masks)
    start[:, 4] = np.rad2deg(start[:, 4])
    assert overlap(fit_ellipses(masks), masks).mean() > overlap(start, masks).mean() + 0.005


def test_soft_masks_are_cut_at_one_half():
    mask = mask_of("oval", 64)
    soft = np.where(mask, 0.9, 0.2)
    np.testing.assert_allclose(
        fit_ellipses(soft[None])[0, :4], fit_ellipses(mask[None])[0, :4], atol=0.8
    )


def test_a_mask_does_not_depend_on_its_batch():
    masks = [mask_of(shape, 64) for shape in BEST]
    together = fit_ellipses(np.stack(masks * 12))
    assert len(together) > TOGETHER
    alone = np.concatenate([fit_ellipses(mask[None]) for mask in masks])
    np.testing.assert_allclose(together, np.tile(alone, (12, 1)), atol=1e-3)


def test_the_moments_of_a_rectangle():
    masks = np.zeros((2, 600, 900), bool)
    masks[0, 590:596, 870:890] = True
    masks[1, 10:500, 3] = True
    expected = [
        (880.0, 593.0, 20 / 3**0.5, 6 / 3**0.5, 0.0),
        (3.5, 255.0, 490 / 3**0.5, 1 / 3**0.5, np.pi / 2),
    ]
    np.testing.assert_allclose(moment_ellipses(masks), expected, rtol=1e-5, atol=1e-5)


def test_thin_slanted_bars_are_found():
    x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    for degrees in (10.0, 35.0, 80.0, 130.0):
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        along, across = (x - 30) * cos + (y - 33) * sin, (y - 33) * cos - (x - 30) * sin
        (found,) = fit_ellipses(((np.abs(along) < 20) & (np.abs(across) < 1))[None])
        np.testing.assert_allclose(found[:2], (30, 33), atol=0.5)
        assert 17 < found[2] < 25 and 0.8 < found[3] < 1.5
        assert abs(found[4] - degrees) < 1.0


def test_stray_pixels_hardly_matter():
    mask = mask_of("oval", 64)
    masks = mask | (np.random.default_rng(0).random((4, 64, 64)) < 0.01)
    start = moment_ellipses(masks)
    start[:, 4] = np.rad2deg(start[:, 4])
    for moments, found in zip(start, fit_ellipses(masks), strict=True):
        assert iou(moments, mask) < 0.8 and iou(found, mask) > 0.94


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5, 0.95])
def test_masks_of_any_pixels_have_an_ellipse(density):
    masks = np.random.default_rng(0).random((50, 24, 40)) < density
    masks[:, 5, 30] = True
    found = fit_ellipses(masks)
    assert np.isfinite(found).all()
    assert (found[:, 3] > 0.3).all() and (found[:, 2] < 60.0).all()


def test_results_are_canonical():
    masks = np.stack([mask_of("oval", 64, rotation=turn) for turn in range(-90, 90, 15)])
    found = fit_ellipses(masks)
    assert (found[:, 2] >= found[:, 3]).all()
    assert ((found[:, 4] >= 0) & (found[:, 4] < 180)).all()


def test_the_smallest_masks_have_an_ellipse():
    masks = np.zeros((3, 16, 16), bool)
    masks[0, 3, 4] = True
    masks[1, 0, :] = True
    masks[2] = True
    found = fit_ellipses(masks)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, :2], (4.5, 3.5), atol=0.3)
    np.testing.assert_allclose(found[2, :2], (8.0, 8.0), atol=0.5)
    assert found[1, 2] > 5 * found[1, 3]


def test_no_masks_give_no_ellipses():
    assert fit_ellipses(np.zeros((0, 8, 8))).shape == (0, 5)
