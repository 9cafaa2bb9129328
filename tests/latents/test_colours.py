"""Colours of elements: text, grammar, vocabulary, and the places that they take from boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.embedded.paths import embedded_path
from pipelines.latents.alignment import aligned
from pipelines.latents.base import NO_COLOUR
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.grounding import Grounding
from pipelines.latents.sequence import order_kinds, z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.vocabulary import SPECIAL_TOKENS, decode_z, encode_z, train_tokenizer
from pipelines.latents.z_grammar import Grammar

KITE = ElementColours.from_hex("kite", "#d8342c")
TREE = ElementColours.from_hex("old tree", "#102030", "#FF8000")
KINDS = ("boxes", "colours")
level = st.integers(0, 255)
item = st.tuples(st.sampled_from(["kite", "old tree", "ärger;"]), *[level] * 6).map(
    lambda row: ElementColours(*row)
)


@pytest.fixture(scope="module")
def coloured():
    """Return a tokenizer of a prior that knows colours."""
    return train_tokenizer(["a red kite over an old tree"] * 4, 2000, KINDS)


def test_text_form():
    text = "kite <216><52><44><216><52><44> <;> old tree <16><32><48><255><128><0>"
    assert Colours((KITE, TREE)).to_text() == text
    assert KITE.hexes == ("#D8342C",) and TREE.hexes == ("#102030", "#FF8000")


@given(st.lists(item, min_size=1, max_size=15).map(Colours))
def test_text_and_bytes_come_back(colours):
    assert Colours.from_text(colours.to_text()) == colours
    assert Colours.from_bytes(colours.to_bytes()) == colours


@pytest.mark.parametrize("value", [-1, 256, 1.0])
def test_levels_have_eight_bits(value):
    with pytest.raises(LatentError):
        Colours((ElementColours("kite", 0, 0, value, 0, 0, 0),))


def test_the_marker_joins_only_vocabularies_of_this_kind(coloured):
    plain = train_tokenizer(["a red kite over an old tree"] * 4, 2000, ("boxes",))
    assert "<colours>" not in SPECIAL_TOKENS and "<colours>" not in plain.get_vocab()
    assert coloured.get_vocab()["<colours>"] == len(coloured) - 1
    assert order_kinds(["palette", "colours", "boxes"]) == ("boxes", "colours", "palette")


def test_a_prior_without_the_marker_still_reads_its_z():
    from pipelines.models.prior import Prior

    prior = Prior.load(embedded_path("prior"), weights=False)
    assert "<colours>" not in prior.tokenizer.get_vocab()
    z = z_to_text({"boxes": Boxes((Box("circle", 0, 0, 500, 500),))})
    assert prior.read_z([z]).grounded.any()


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_every_z_of_the_grammar_is_valid(coloured, random):
    grammar = Grammar(coloured, KINDS, labels=("kite", "old tree"))
    state, ids = grammar.start(), []
    while not grammar.done(state):
        ids.append(int(random.choice(grammar.legal(state))))
        state = grammar.step(state, ids[-1])
    z = z_from_text(decode_z(coloured, ids))
    assert tuple(z) == KINDS and grammar.done(grammar.walk([*encode_z(coloured, z_to_text(z)), 1]))


def rects_of(tokenizer, z):
    ids = encode_z(tokenizer, z_to_text(z))
    rects = Grounding(tokenizer, KINDS).rects(ids)
    start = ids.index(tokenizer.convert_tokens_to_ids("<colours>"))
    assert rects[start] is None
    return ids[start + 1 :], rects[start + 1 :]


def test_colours_are_where_the_boxes_are(coloured):
    boxes = Boxes((Box("kite", 0, 0, 100, 100), Box("kite", 500, 500, 900, 900)))
    z = {"boxes": boxes, "colours": Colours((KITE, ElementColours.from_hex("kite", "#0000ff")))}
    ids, rects = rects_of(coloured, z)
    between = rects.index(None)
    assert ids[between] == coloured.convert_tokens_to_ids("<;>")
    assert set(rects[:between]) == {(0.0, 0.0, 0.1, 0.1)}
    assert set(rects[between + 1 :]) == {(0.5, 0.5, 0.9, 0.9)}


def test_an_item_that_no_box_has_is_nowhere(coloured):
    z = {"boxes": Boxes((Box("kite", 0, 0, 100, 100),)), "colours": Colours((TREE, KITE))}
    ids, rects = rects_of(coloured, z)
    between = ids.index(coloured.convert_tokens_to_ids("<;>"))
    assert set(rects[: between + 1]) == {None}
    assert set(rects[between + 1 :]) == {(0.0, 0.0, 0.1, 0.1)}


def test_boxes_come_before_blobs_as_places_and_without_both_there_are_none(coloured):
    blobs = Blobs((Blob("kite", 800, 800, 100, 100, 0),))
    _, rects = rects_of(coloured, {"blobs": blobs, "colours": Colours((KITE,))})
    assert {tuple(np.round(rect, 6)) for rect in rects} == {(0.7, 0.7, 0.9, 0.9)}
    z = {"boxes": Boxes((Box("kite", 0, 0, 9, 9),)), "blobs": blobs, "colours": Colours((KITE,))}
    assert set(rects_of(coloured, z)[1]) == {(0.0, 0.0, 0.009, 0.009)}
    assert set(rects_of(coloured, {"colours": Colours((KITE,))})[1]) == {None}


def test_each_number_refers_to_its_own_colour():
    symbols = ["", "", 255, 0, 0, 0, 0, 255]
    red, blue = (1.0, -1.0, -1.0, 1.0), (-1.0, -1.0, 1.0, 1.0)
    assert Colours.token_colours(symbols) == [red] * 5 + [blue] * 3
    assert Colours.token_colours(symbols[:-1]) == [NO_COLOUR] * 7


def test_the_overlay_shows_label_and_colours():
    image = np.zeros((64, 64, 3), np.uint8)
    drawn = Colours((KITE,)).draw(image)
    assert drawn.shape == image.shape and not image.any()
    assert (drawn.reshape(-1, 3) == (216, 52, 44)).all(1).sum() > 20
    assert (drawn == 255).all(2).any(), "the label is written"


@given(*[st.lists(st.integers(0, 2), max_size=5)] * 2)
def test_alignments_do_not_cross_and_are_as_long_as_can_be(first, second):
    from itertools import combinations

    pairs = aligned(first, second, lambda a, b: a == b)
    assert all(first[i] == second[j] for i, j in pairs.items())
    assert list(pairs) == sorted(pairs) and list(pairs.values()) == sorted(set(pairs.values()))

    def common(n):
        return set(combinations(first, n)) & set(combinations(second, n))

    assert common(len(pairs)) and not common(len(pairs) + 1)
