"""Shapes of pictures, and what is cut away to reach them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.latents.crop import WHOLE
from pipelines.models.pixels import pixels_of
from pipelines.models.shapes import (
    bucket_shapes,
    choose_shape,
    crop_region,
    nearest_shape,
    write_shape,
)

sides = st.integers(1, 4000)


def test_shapes_of_256_pixels():
    wide = [(224, 288), (208, 320), (192, 336)]
    expected = [(256, 256), *(s for pair in wide for s in (pair, pair[::-1]))]
    assert bucket_shapes(256, 16, 1.8) == expected
    assert bucket_shapes(64, 4, 1.0) == [(64, 64)]


@given(st.sampled_from([(32, 4), (64, 4), (256, 16), (512, 32), (1024, 64)]), st.floats(1, 4))
def test_shapes_have_about_the_area_and_sides_that_the_step_divides(sizes, aspect):
    side, step = sizes
    shapes = bucket_shapes(side, step, aspect)
    assert shapes[0] == (side, side) and len(set(shapes)) == len(shapes)
    for height, width in shapes:
        assert height % step == 0 and width % step == 0
        assert 0.8 < height * width / side**2 < 1.2
        assert (width, height) in shapes


@given(st.tuples(sides, sides), st.floats(0, 1), st.floats(0, 1))
def test_the_cut_has_the_shape_and_loses_no_more_than_it_must(size, across, down):
    shapes = bucket_shapes(256, 16, 2.0)
    shape = nearest_shape(size, shapes)
    left, top, right, bottom = crop_region(size, shape, (across, down))
    assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
    assert max(right - left, bottom - top) == pytest.approx(1)
    ratio = (right - left) * size[0] / ((bottom - top) * size[1])
    assert ratio == pytest.approx(shape[1] / shape[0])
    kept = (right - left) * (bottom - top)
    for other in shapes:
        region = crop_region(size, other)
        assert kept >= (region[2] - region[0]) * (region[3] - region[1]) - 1e-9


def test_a_size_is_written_width_first():
    known = [(256, 256), (208, 312)]
    assert write_shape(known[1]) == "312x208"
    assert choose_shape("", known) == (256, 256)
    assert choose_shape("312x208", known) == choose_shape("312 × 208", known) == (208, 312)
    assert choose_shape("256", known) == (256, 256)
    for wrong in ("208x312", "312", "x", "0x0", "-1x5"):
        with pytest.raises(KaleidoError) as caught:
            choose_shape(wrong, known)
        assert caught.value.code == "bad-option" and "312x208" in caught.value.hint


def picture(width: int, height: int) -> np.ndarray:
    """A picture whose red grows to the right and whose green grows downwards."""
    x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)
    flat = np.zeros((height, width))
    return np.stack([flat + x, flat + y[:, None], flat], -1).round().astype(np.uint8)


@pytest.mark.parametrize("region", [None, (0.5, 0.0, 1.0, 1.0), (0.1, 0.3, 0.4, 0.6)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pixels_are_those_of_the_part(region, kind):
    pixels = picture(400, 240)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=95)
    found = pixels_of(Record("a", buffer.getvalue(), "c"), (24, 32), region)
    assert found.shape == (24, 32, 3)
    left, top, right, bottom = region or crop_region((400, 240), (24, 32))
    x = left + (np.arange(32) + 0.5) / 32 * (right - left)
    y = top + (np.arange(24) + 0.5) / 24 * (bottom - top)
    assert np.abs(found[12, :, 0] - 255 * x).max() < 8
    assert np.abs(found[:, 16, 1] - 255 * y).max() < 8


def test_a_square_is_reduced_by_a_whole_factor_as_ever():
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    record = Record("a", encode_png(pixels), "c")
    means = pixels.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(pixels_of(record, (32, 32)) - means).max() <= 0.5
    assert (pixels_of(record, (64, 64), WHOLE) == pixels).all()
    assert pixels_of(record, (96, 96)).shape == (96, 96, 3)  # a small picture is enlarged
