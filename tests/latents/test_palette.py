"""Palette: weights, colours and edits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.latents.palette import Colour, Palette, whole_weights
from pipelines.latents.text import LatentError

FLAG = Palette.sorted(
    [Colour.from_hex(c, w) for c, w in (("#ff0000", 500), ("#ffffff", 300), ("#0000ff", 200))]
)


def colours(*weights):
    return tuple(Colour(100 * i, 500, 500, w) for i, w in enumerate(weights))


def test_text_form():
    palette = Palette(colours(600, 400))
    assert palette.to_text() == "<0><500><500><600> <;> <100><500><500><400>"
    assert Palette.from_text("(0, 500, 500, 600); (100, 500, 500, 400)") == palette
    with pytest.raises(LatentError, match="red"):
        Palette.from_text("red <0><500><500><1000>")


@pytest.mark.parametrize(
    "weights",
    [(400, 600), (600, 399), (600, 401), (1000, 0), (999,), (1001,), (1001, -1), (500.0, 500.0)],
)
def test_weights_must_not_increase_and_sum_to_1000(weights):
    with pytest.raises(LatentError) as caught:
        Palette(colours(*weights))
    assert caught.value.what == "palette"


def test_extreme_weights():
    assert Palette(colours(993, *[1] * 7)).items[0] == Colour(0, 500, 500, 993)
    assert len(Palette(colours(*[125] * 8)).items) == 8
    with pytest.raises(LatentError, match="9.* 1 to 8"):
        Palette(colours(*[112] * 8, 104))


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFF))
@example(0x03F70A)
def test_hex_survives_the_grid(value):
    given_hex = f"#{value:06x}"
    back = bytes.fromhex(Colour.from_hex(given_hex, 1000).hex[1:])
    error = np.abs(np.array(list(back)) - np.array(list(value.to_bytes(3, "big"))))
    # Half a grid step is 0.0005 in L and 0.0004 in a and b; a channel near 0, where sRGB is
    # steepest, is up to 8 levels off.
    assert error.max() <= 9 and error.mean() <= 4


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_whole_weights(weights):
    shares = whole_weights(weights)
    assert sum(shares) == 1000 and min(shares) >= 1
    in_order = [share for _, share in sorted(zip(weights, shares, strict=True))]
    assert in_order == sorted(shares)
    assert whole_weights(shares) == shares


@pytest.mark.parametrize("weights", [[], [0.0], [1, -1], [float("nan")], [float("inf"), 1]])
def test_whole_weights_refuses(weights):
    with pytest.raises(LatentError):
        whole_weights(weights)


def test_from_oklab_sorts_and_rounds():
    lab = np.array([[0.2, 0.0, 0.0], [0.9, 0.1, -0.1]])
    palette = Palette.from_oklab(lab, [10, 30])
    assert palette.items == (Colour(900, 625, 375, 750), Colour(200, 500, 500, 250))
    assert np.allclose(palette.items[0].oklab, lab[1])
