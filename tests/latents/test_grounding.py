"""Grounding: every token of an item refers to the item's region or colour."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.base import NO_COLOUR
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.grounding import Grounding
from pipelines.latents.items import ItemList
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import z_to_text
from pipelines.latents.text import GRID
from pipelines.latents.tokens import Tokens
from pipelines.latents.vocabulary import encode_z


def test_tokens_of_an_item_share_its_region(tokenizer) -> None:
    z = {"boxes": Boxes((Box("red star", 100, 200, 300, 600), Box("ring", 0, 0, 1000, 500)))}
    ids = encode_z(tokenizer, z_to_text(z))
    rects = Grounding(tokenizer).rects([*ids, tokenizer.eos_token_id, tokenizer.pad_token_id])
    separator = next(i for i in range(2, len(ids)) if rects[i] is None)
    assert rects[0] is None  # the marker
    assert set(rects[1:separator]) == {(0.1, 0.2, 0.3, 0.6)}
    assert set(rects[separator + 1 : len(ids)]) == {(0.0, 0.0, 1.0, 0.5)}
    assert rects[len(ids) :] == [None] * 2
    words = [i for i, word in enumerate(Grounding(tokenizer).are_words(ids)) if word]
    assert tokenizer.decode([ids[i] for i in words]).split() == ["red", "star", "ring"]


def test_a_box_as_large_as_the_image_is_a_region(tokenizer) -> None:
    ids = encode_z(tokenizer, z_to_text({"boxes": Boxes((Box("ring", 0, 0, 1000, 1000),))}))
    assert Grounding(tokenizer).rects(ids) == [None] + [(0.0, 0.0, 1.0, 1.0)] * (len(ids) - 1)


def test_a_visual_token_has_its_cell_and_a_description_none(tokenizer) -> None:
    z = {
        "description": Description("a quiet street (at dusk)"),
        "boxes": Boxes((Box("ring", 0, 0, 1000, 500),)),
        "tokens": Tokens(2, 4, 9, (0, 1, 2, 3, 4, 5, 6, 7)),
    }
    ids = [*encode_z(tokenizer, z_to_text(z)), tokenizer.eos_token_id, tokenizer.pad_token_id]
    rects = Grounding(tokenizer).rects(ids)
    boxes, tokens = (ids.index(tokenizer.convert_tokens_to_ids(f"<{k}>")) for k in list(z)[1:])
    assert set(rects[: boxes + 1]) == {None}
    assert set(rects[boxes + 1 : tokens]) == {(0.0, 0.0, 1.0, 0.5)}
    assert set(rects[tokens : tokens + 4] + rects[-2:]) == {None}
    cells = rects[tokens + 4 : -2]
    assert len(cells) == 8
    assert cells[0] == (0.0, 0.0, 0.25, 0.5)
    assert cells[3] == (0.75, 0.0, 1.0, 0.5)
    assert cells[6] == (0.5, 0.5, 0.75, 1.0)


def test_both_numbers_of_an_id_have_its_cell(tokenizer) -> None:
    ids = encode_z(tokenizer, z_to_text({"tokens": Tokens(2, 1, 4096, (7, 4095))}))
    upper, lower = (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)
    assert Grounding(tokenizer).rects(ids) == [None] * 6 + [upper, upper, lower, lower]


def test_the_ids_of_a_sequence_have_no_region(tokenizer) -> None:
    ids = encode_z(tokenizer, z_to_text({"tokens": Tokens(1, 32, 4096, range(32))}))
    assert set(Grounding(tokenizer).rects(ids)) == {None}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rects_follow_the_items_whatever_the_labels(tokenizer, any_z, data) -> None:
    z = data.draw(any_z)
    ids = [*encode_z(tokenizer, z_to_text(z)), tokenizer.eos_token_id]
    expected = []
    for latent in z.values():
        if isinstance(latent, ItemList):
            expected += [latent.rect(astuple(item)[latent.labelled :]) for item in latent.items]
        elif isinstance(latent, Tokens):
            last = (1 - 1 / latent.width, 1 - 1 / latent.height, 1.0, 1.0)
            expected.append(None if latent.height == 1 else last)
    numbers = {f"<{value}>" for value in range(GRID + 1)}
    tokens = tokenizer.convert_ids_to_tokens(ids)
    found = Grounding(tokenizer).rects(ids)
    # An item, or the last cell, ends where a number is followed by something else.
    ends = [
        rect
        for rect, token, following in zip(found, tokens, tokens[1:], strict=False)
        if token in numbers and following not in numbers
    ]
    assert ends == [rect and pytest.approx(rect) for rect in expected]


@given(
    numbers=st.tuples(
        *[st.integers(0, 1000)] * 2,
        st.integers(500, 1000),
        st.integers(1, 500),
        st.integers(0, 179),
    )
)
def test_a_blob_just_fits_into_its_region(numbers: tuple[int, ...]) -> None:
    outline = Blob("ring", *numbers).outline(720) / GRID
    found = np.concatenate([outline.min(0), outline.max(0)])
    assert Blobs.rect(numbers) == pytest.approx(found, abs=1e-3)


def test_palette_colours_are_in_the_range_of_pixels(tokenizer) -> None:
    palette = Palette.sorted([Colour.from_hex("#ff8000", 700), Colour.from_hex("#0000ff", 300)])
    z = {"boxes": Boxes((Box("ring", 0, 0, 1000, 500),)), "palette": palette}
    ids = [*encode_z(tokenizer, z_to_text(z)), tokenizer.eos_token_id, tokenizer.pad_token_id]
    colours = Grounding(tokenizer).colours(ids)
    start = ids.index(tokenizer.convert_tokens_to_ids("<palette>"))
    assert set(colours[: start + 1] + colours[-2:]) == {NO_COLOUR}
    orange, blue = colours[start + 1 : start + 5], colours[start + 6 : -2]
    assert len(set(orange)) == len(set(blue)) == 1
    assert orange[0] == pytest.approx((1.0, 0.0, -1.0, 0.7), abs=0.02)
    assert blue[0] == pytest.approx((-1.0, -1.0, 1.0, 0.3), abs=0.02)
    assert colours[start + 5] == NO_COLOUR  # the separator


@pytest.mark.parametrize(
    "text", ["<boxes> star <1><2>", "<tokens> <1><2>", "<tokens> <1><2><9><1>", "star <1><2><3><4>"]
)
def test_what_does_not_parse_has_no_region(tokenizer, text) -> None:
    ids = encode_z(tokenizer, text)
    assert set(Grounding(tokenizer).rects(ids)) == {None}
    assert set(Grounding(tokenizer).colours(ids)) == {NO_COLOUR}
