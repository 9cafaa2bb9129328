"""Colours that a file names without an ICC profile become sRGB as well."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipelines.core.colour_spaces import ADOBE, BT709, D65
from pipelines.core.images import decode

COLOUR = (180, 90, 40)
GREY = (120, 120, 120)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WIDE = ((0.7347, 0.2653), (0.1152, 0.8264), (0.1566, 0.0177))
D50 = (0.3457, 0.3585)


def light(colour) -> np.ndarray:
    srgb = np.array(colour) / 255.0
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_xyz(primaries, white) -> np.ndarray:
    """Columns: the XYZ of each primary, so that together they make the white (SMPTE RP 177)."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    x, y = white
    return columns * np.linalg.solve(columns, [x / y, 1.0, (1 - x - y) / y])


def stored(colour, primaries, curve, white=D65) -> tuple[int, ...]:
    """Write an sRGB colour in another space; only for spaces with the white of sRGB."""
    assert white == D65
    other = np.linalg.solve(to_xyz(primaries, white), to_xyz(BT709, D65) @ light(colour))
    return tuple(round(255 * curve(max(float(value), 0.0))) for value in other)


def power(gamma):
    return lambda value: value ** (1 / gamma)


def bt709(value):
    return 4.5 * value if value < 0.018 else 1.099 * value**0.45 - 0.099


def png(colour, *chunks: tuple[bytes, bytes], mode="RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).convert(mode).save(buffer, "PNG")
    data = buffer.getvalue()
    extra = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return data[:33] + extra + data[33:]


def gama(exponent: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(exponent * 100_000))


def chrm(primaries, white=D65) -> tuple[bytes, bytes]:
    points = [number for point in (white, *primaries) for number in point]
    return b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in points))


def cicp(primaries, curve, matrix=0, full=1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, curve, matrix, full])


@pytest.mark.parametrize(
    ("primaries", "curve", "chunks"),
    [
        (BT709, power(1.0), [gama(1.0)]),
        (BT709, power(1.8), [gama(1 / 1.8)]),
        (P3, power(1.8), [gama(1 / 1.8), chrm(P3)]),
        (ADOBE, power(2.0), [chrm(ADOBE), gama(0.5)]),
        (P3, power(2.2), [cicp(12, 4)]),
        (BT709, power(2.8), [cicp(1, 5)]),
        (P3, power(1.0), [cicp(12, 8)]),
        (BT709, bt709, [cicp(1, 1)]),
        (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), bt709, [cicp(9, 14)]),
    ],
    ids=lambda value: "+".join(name.decode() for name, _ in value) if type(value) is list else "",
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_chunks_that_name_colours_are_applied(primaries, curve, chunks, mode):
    other = stored(COLOUR, primaries, curve)
    assert np.abs(np.array(other) - COLOUR).max() > 4
    decoded = decode(png(other, *chunks, mode=mode))
    assert np.abs(np.asarray(decoded.image).astype(int) - COLOUR).max() <= 2
    assert not decoded.verbatim


def test_another_white_is_adapted():
    """The white of a file is white, as Bradford has it; its greys stay grey."""
    for colour in ((255, 255, 255), GREY):
        pixels = np.asarray(decode(png(colour, chrm(WIDE, D50))).image).astype(int)
        assert np.abs(pixels - colour).max() <= 2
    red = np.asarray(decode(png((90, 40, 40), chrm(WIDE, D50))).image)[0, 0]
    assert red[0] > 95 and red[1] < 40


def test_a_curve_counts_in_grey_pictures_too():
    (value, *_) = stored(GREY, BT709, power(1.0))
    pixels = np.asarray(decode(png((value,) * 3, gama(1.0), mode="L")).image).astype(int)
    assert np.abs(pixels - GREY).max() <= 1


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(1 / 2.2)],
        [gama(1 / 2.2), chrm(BT709)],
        [(b"sRGB", b"\0"), gama(1.0), chrm(P3)],
        [cicp(1, 13), gama(1.0)],
        [cicp(12, 16)],
        [cicp(12, 18)],
        [cicp(12, 4, matrix=1)],
        [cicp(12, 4, full=0)],
        [(b"cICP", b"\x0c\x04\0")],
        [gama(0.0)],
        [gama(0.05)],
        [gama(3.0)],
        [(b"cHRM", bytes(32))],
        [chrm(((0.3, 0.3),) * 3)],
        [chrm(((40000, 40000),) * 3)],
    ],
    ids=lambda chunks: "+".join(f"{name.decode()}{body.hex()}" for name, body in chunks)[:40],
)
def test_what_says_srgb_or_nothing_usable_changes_nothing(chunks):
    decoded = decode(png(COLOUR, *chunks))
    assert (np.asarray(decoded.image) == COLOUR).all()
    assert decoded.verbatim


def test_a_chunk_with_a_wrong_checksum_says_nothing():
    data = png(COLOUR, gama(1.0))
    at = data.index(b"gAMA") + 8
    assert decode(data[:at] + b"zzzz" + data[at + 4 :]).verbatim


def test_the_most_exact_statement_counts():
    data = png(stored(COLOUR, P3, power(2.2)), cicp(12, 4), (b"sRGB", b"\0"), gama(1.0))
    assert np.abs(np.asarray(decode(data).image).astype(int) - COLOUR).max() <= 2


def with_exif(space, index=None, kind="JPEG", mode="RGB") -> bytes:
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        tags.get_ifd(0x8769)[0xA005] = {1: index}
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    image = Image.new("RGB", (8, 8), stored(COLOUR, ADOBE, power(2.2))).convert(mode)
    image.save(buffer, kind, exif=tags.tobytes(), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("space", "index"), [(2, None), (2, "R03"), (0xFFFF, "R03")])
def test_adobe_rgb_that_only_exif_names_is_applied(kind, space, index):
    decoded = decode(with_exif(space, index, kind))
    assert np.abs(np.asarray(decoded.image).astype(int) - COLOUR).max() <= 4
    assert not decoded.verbatim


@pytest.mark.parametrize(("space", "index"), [(1, "R98"), (0xFFFF, None), (0xFFFF, "R98")])
def test_other_colour_spaces_of_exif_change_nothing(space, index):
    decoded = decode(with_exif(space, index))
    assert decoded.verbatim
    other = stored(COLOUR, ADOBE, power(2.2))
    assert np.abs(np.asarray(decoded.image).astype(int) - other).max() <= 3


def test_an_rgb_space_does_not_touch_cmyk():
    plain = with_exif(1, mode="CMYK")
    assert (np.asarray(decode(with_exif(2, mode="CMYK")).image) == decode(plain).image).all()
