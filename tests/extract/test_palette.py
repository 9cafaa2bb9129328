"""The palette: right on flat colours, blind to edges and shading, and always the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.core.stage import Ok
from pipelines.extract.palette import MIN_DISTANCE, PaletteStage, find_palette
from pipelines.latents.oklab import srgb_to_oklab
from pipelines.scenes.draw import RGB
from pipelines.scenes.generate import make_records

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


def test_flat_areas_give_their_colours_and_shares():
    image = np.full((40, 40, 3), (250, 246, 236), np.uint8)
    image[:10] = (220, 40, 40)
    image[10:12] = (45, 85, 215)
    palette = find_palette(image, 6)
    assert [item.weight for item in palette.items] == [700, 250, 50]
    assert [item.hex for item in palette.items] == ["#faf6ec", "#dc2828", "#2d55d7"]


def test_one_colour_is_a_palette():
    (only,) = find_palette(np.full((1, 1, 3), 7, np.uint8), 6).items
    assert only.weight == 1000


@settings(max_examples=50, deadline=None)
@given(image=IMAGES, colours=st.integers(1, 8))
def test_any_picture_has_a_valid_palette(image, colours):
    palette = find_palette(image, colours)
    assert 1 <= len(palette.items) <= colours
    assert sum(item.weight for item in palette.items) == 1000
    assert palette == find_palette(image.copy(), colours)


def test_colours_are_told_apart():
    noise = np.random.default_rng(0).normal(0, 2, (64, 64, 3))
    image = np.clip(np.full((64, 64, 3), 128.0) + noise, 0, 255).astype(np.uint8)
    assert len(find_palette(image, 8).items) == 1
    image[:32] += 60
    first, second = find_palette(image, 8).items
    assert np.linalg.norm(first.oklab - second.oklab) > MIN_DISTANCE


def test_the_colours_of_scenes_are_found():
    hits = []
    for record in make_records(60, seed=5):
        found = np.array([item.oklab for item in find_palette(record.pixels, 6).items])
        for item in record.meta["truth"]["objects"]:
            if item["visible"] >= 0.5:
                true = srgb_to_oklab(np.array(RGB[item["colour"]]) / 255.0)
                hits.append(np.linalg.norm(found - true, axis=1).min() < 0.08)
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize("count", [1, 3])
def test_the_stage_keeps_order_and_limit(count):
    records = list(make_records(3, seed=1))
    outcomes = PaletteStage(count)(records)
    assert [len(outcome.value.items) <= count for outcome in outcomes] == [True] * 3
    assert outcomes == [Ok(find_palette(record.pixels, count)) for record in records]


def test_large_pictures_are_thinned_without_changing_shares():
    image = np.zeros((700, 500, 3), np.uint8)
    image[:, 250:] = 255
    assert [item.weight for item in find_palette(image, 6).items] == pytest.approx(
        [500, 500], abs=5
    )
