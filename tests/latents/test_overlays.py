"""Overlays: they change a copy, inside the image, at every size."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.overlays import COLOURS
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.tokens import Tokens

LATENTS = [
    Boxes((Box("circle", 250, 250, 750, 750), Box("a very long label " * 9, 0, 0, 1000, 1000))),
    Blobs((Blob("star", 500, 500, 300, 100, 45), Blob("\x00\n🎨שלום", 1000, 0, 1000, 1, 90))),
    Palette((Colour.from_hex("#ff0000", 600), Colour.from_hex("#0000ff", 400))),
    Description("a long sentence, " * 40 + "an" + "other" * 60 + " שלום 🎨"),
    Tokens(3, 5, 1001, tuple(range(986, 1001))),
]


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (64, 64), (512, 512), (40, 200)])
def test_draws_on_a_copy(latent, size):
    image = np.full((*size, 3), 200, dtype=np.uint8)
    image.flags.writeable = False
    drawn = latent.draw(image)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 200).all() and (drawn != 200).any()


@pytest.mark.parametrize("size", [64, 512])
def test_box_edges_and_labels_are_where_they_should_be(size):
    drawn = Boxes((Box("star", 250, 500, 750, 900),)).draw(np.zeros((size, size, 3), np.uint8))
    coloured = (drawn == COLOURS[0]).all(axis=-1)
    below_label = coloured[round(0.55 * size) :]
    rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(below_label.any(axis=0))
    assert rows.max() == pytest.approx(0.9 * size, abs=2)
    assert columns.min() == pytest.approx(0.25 * size, abs=2)
    assert columns.max() == pytest.approx(0.75 * size, abs=2)
    assert not coloured[round(0.7 * size), round(0.5 * size)]
    label = drawn[rows.min() : round(0.5 * size) - 2].astype(int)
    assert 6 <= len(label) <= 24
    # The label's letters are nearly white; its ground has the outline's colour.
    assert (label.min(axis=-1) > 180).sum() >= 8
    assert (label == COLOURS[0]).all(axis=-1).sum() > (label.min(axis=-1) > 180).sum()


def test_swatches_are_as_wide_as_their_weights():
    drawn = LATENTS[2].draw(np.zeros((100, 1000, 3), dtype=np.uint8))
    strip = drawn[-1].astype(int)
    assert (strip[:, 0] > 250).sum() == 600
    assert (strip[:, 2] > 250).sum() == 400


def test_a_description_is_written_over_the_lower_part():
    image = np.full((256, 256, 3), 200, dtype=np.uint8)
    few = Description("a quiet street").draw(image)
    many = Description("a quiet street at dusk, " * 30).draw(image)
    first = [int(np.flatnonzero((drawn != image).any(axis=(1, 2)))[0]) for drawn in (few, many)]
    assert 235 < first[0] < 250 and 120 < first[1] < 140
    for drawn in (few, many):
        assert (drawn[-1, -1] == 50).all()  # the darkened ground
        assert (drawn.min(axis=-1) > 200).sum() > 20  # white letters
    # Lines are full but none is cut at the right edge.
    assert 200 < np.flatnonzero((many[128:].min(axis=-1) > 120).any(axis=0))[-1] < 256


def test_equal_ids_have_equal_colours_and_others_differ():
    ids = (5, 5, 6, 7, 8, 5)
    drawn = Tokens(2, 3, 9, ids).draw(np.zeros((40, 90, 3), dtype=np.uint8))
    colours = [
        tuple(drawn[20 * row + 10, 30 * column + 15]) for row in (0, 1) for column in range(3)
    ]
    assert len(set(colours)) == 4 and colours[0] == colours[1] == colours[5]
    assert (drawn[:20, :60] == colours[0]).all() and (drawn[20:, 60:] == colours[5]).all()
    all_ids = Tokens(32, 32, 1001, (*range(1001), *range(23))).draw(np.zeros((32, 32, 3), np.uint8))
    assert len(np.unique(all_ids.reshape(-1, 3)[:1001], axis=0)) == 1001
