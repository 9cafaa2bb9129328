"""OKLab against published values."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.latents.oklab import hex_to_oklab, oklab_to_hex, oklab_to_srgb, srgb_to_oklab


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        # CSS Color 4's reference values.
        ("#ffffff", (1.0, 0.0, 0.0)),
        ("#000000", (0.0, 0.0, 0.0)),
        ("#ff0000", (0.62796, 0.22486, 0.12585)),
        ("#00ff00", (0.86644, -0.23389, 0.17950)),
        ("#0000ff", (0.45201, -0.03246, -0.31153)),
    ],
)
def test_published_values(colour, lab):
    assert np.allclose(hex_to_oklab(colour), lab, atol=1e-4)


def test_there_and_back():
    levels = np.linspace(0, 1, 18)
    srgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    assert np.abs(oklab_to_srgb(srgb_to_oklab(srgb)) - srgb).max() < 1e-4


def test_what_srgb_cannot_show_is_clipped():
    srgb = oklab_to_srgb(np.array([[0.5, 0.4, 0.4], [1.0, -0.4, -0.4], [0.0, 0.4, -0.4]]))
    assert srgb.min() >= 0 and srgb.max() <= 1


def test_hex():
    assert oklab_to_hex(hex_to_oklab("#1a2B3c")) == "#1a2b3c"
    for bad in ("1a2b3c", "#1a2b3", "#1a2b3g", "#1a2b3c4", "#+1+2+3", ""):
        with pytest.raises(ValueError, match="colour"):
            hex_to_oklab(bad)
