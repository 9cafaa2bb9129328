"""Decoding gives the same pixels, and the same errors, with and without simplejpeg."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import BadRecord
from pipelines.core.images import decode_image, open_image

SIDE = 40


def picture(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[:SIDE, : SIDE + 8] / SIDE
    rgb = np.stack([np.sin(9 * x * y) * 0.5 + 0.5, x % 1, y], axis=2)
    return Image.fromarray((rgb * 255).astype(np.uint8)).convert(mode)


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    return jpeg(exif=exif)


KINDS = {
    "444": jpeg(subsampling=0),
    "422": jpeg(subsampling=1),
    "420": jpeg(subsampling=2, quality=30),
    "progressive": jpeg(progressive=True),
    "grey": jpeg("L"),
    "cmyk": jpeg("CMYK"),
    "turned": turned(),
    "with a comment": jpeg(comment=b"made by hand"),
}


@pytest.fixture
def without(monkeypatch):
    """Return a function that decodes as if simplejpeg were not installed."""

    def decode(data: bytes, **options: int) -> np.ndarray:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "simplejpeg", None)
            return decode_image(data, **options)

    return decode


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_has_the_pixels_that_pillow_gives(kind, without):
    pixels = decode_image(KINDS[kind])
    np.testing.assert_array_equal(pixels, np.asarray(open_image(KINDS[kind])))
    np.testing.assert_array_equal(pixels, without(KINDS[kind]))
    assert pixels.dtype == np.uint8 and not pixels.flags.writeable
    expected = (SIDE + 8, SIDE) if kind == "turned" else (SIDE, SIDE + 8)
    assert pixels.shape == (*expected, 3)


def outcome(decode, data: bytes) -> object:
    try:
        return decode(data).tolist()
    except BadRecord as error:
        return str(error)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damage_has_the_same_outcome(without, kind, data):
    content = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    assert outcome(decode_image, bytes(content)) == outcome(without, bytes(content))


def test_a_large_picture_is_refused_before_it_is_decoded(without):
    for decode in (decode_image, without):
        with pytest.raises(BadRecord, match=r"48 x 40 pixels; the limit is 100"):
            decode(KINDS["420"], max_pixels=100)
