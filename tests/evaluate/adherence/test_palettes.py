import numpy as np
import pytest

from pipelines.evaluate.adherence.palettes import palette_fit, palette_fits
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import z_to_text

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(*rows):
    """A picture of one-coloured rows."""
    return np.repeat(np.array(rows, np.uint8)[:, None], 4, axis=1)


def palette(red, blue):
    return Palette.sorted([Colour.from_hex("#ff0000", red), Colour.from_hex("#0000ff", blue)])


def test_a_picture_of_its_palette_is_at_no_distance():
    fit = palette_fit(palette(750, 250), picture(RED, RED, RED, BLUE))
    assert fit.distance < 0.002 and fit.shares < 1e-9


def test_wrong_shares_are_seen_though_the_colours_are_right():
    fit = palette_fit(palette(750, 250), picture(BLUE, BLUE, BLUE, BLUE))
    assert fit.distance < 0.002 and fit.shares == pytest.approx(0.75)


def test_another_colour_is_at_its_distance():
    from pipelines.latents.oklab import hex_to_oklab

    apart = np.linalg.norm(hex_to_oklab("#ffffff") - hex_to_oklab("#ff0000"))
    only = Palette((Colour.from_hex("#ff0000", 1000),))
    fit = palette_fit(only, picture((255, 255, 255)))
    assert fit.distance == pytest.approx(apart, abs=0.002) and fit.shares == 0.0


def test_the_control_is_the_next_samples_palette():
    texts = [z_to_text({"palette": palette(900, 100)}), z_to_text({"palette": palette(400, 600)})]
    images = np.stack([picture(*[RED] * 9, BLUE), picture(*[RED] * 4, *[BLUE] * 6)])
    fits = palette_fits(texts, images, texts[:1] * 2)
    assert fits.shape == (2, 6)
    np.testing.assert_allclose(fits[:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(fits[:, 3], 0.5)
    np.testing.assert_allclose(fits[:, 5], [0.0, 0.5], atol=1e-9)
    np.testing.assert_array_equal(np.isnan(palette_fits(texts, images, ())[:, 4:]), True)


def test_a_single_picture_has_no_next_one():
    text = z_to_text({"palette": palette(900, 100)})
    fits = palette_fits([text], picture(*[RED] * 9, BLUE)[None], [text])
    np.testing.assert_array_equal(np.isnan(fits), [[False] * 2 + [True] * 2 + [False] * 2])


def test_a_z_without_a_palette_or_that_does_not_parse_is_unknown():
    texts = ["", "<boxes> star <1><2><3><4>", "<palette> <1>"]
    assert np.isnan(palette_fits(texts, np.stack([picture(RED)] * 3), ())).all()
