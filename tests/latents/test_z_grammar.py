"""The grammar of z is sound and complete and never gets stuck."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.core.errors import KaleidoError
from pipelines.latents.boxes import Boxes
from pipelines.latents.description import MAX_CHARACTERS, Description
from pipelines.latents.grid_shape import Shape
from pipelines.latents.sequence import order_kinds, z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens
from pipelines.latents.vocabulary import decode_z, encode_z
from pipelines.latents.z_grammar import Grammar

KINDS = ("description", "boxes", "blobs", "tokens", "palette")
SMALL = {"max_description_tokens": 12, "shape": Shape(2, 3, 7)}
LABELS = ["circle", "star", "starfish", "red star", "ring", "🎨"]


def draw(grammar, choose):
    """Walk to the end; `choose` picks one of the legal ids."""
    state, ids = grammar.start(), []
    while not grammar.done(state):
        ids.append(int(choose(grammar.legal(state))))
        state = grammar.step(state, ids[-1])
    return ids


@pytest.fixture(scope="module", params=["closed", "open"])
def grammar(request, tokenizer):
    return Grammar(tokenizer, KINDS, LABELS if request.param == "closed" else None, **SMALL)


def test_random_walks_end_parse_and_validate(grammar, tokenizer):
    rng = random.Random(0)
    walks = [draw(grammar, lambda ids: ids[rng.randrange(len(ids))]) for _ in range(2500)]
    assert max(map(len, walks)) <= grammar.max_tokens()
    for text in tokenizer.batch_decode(walks, skip_special_tokens=True):
        assert list(z_from_text(text)) == list(KINDS)  # constructing a latent validates it


def test_a_drawn_z_from_closed_labels_is_encoded_as_it_was_drawn(tokenizer):
    kinds = tuple(kind for kind in KINDS if kind != "description")  # its text is open
    grammar = Grammar(tokenizer, kinds, LABELS, **SMALL)
    rng = random.Random(1)
    for _ in range(200):
        ids = draw(grammar, lambda ids: ids[rng.randrange(len(ids))])
        z = z_from_text(decode_z(tokenizer, ids))
        assert encode_z(tokenizer, z_to_text(z)) == ids[:-1]


@pytest.mark.parametrize("choose", [lambda ids: ids[0], lambda ids: ids[-1]], ids=["low", "high"])
def test_extreme_walks(grammar, tokenizer, choose):
    ids = draw(grammar, choose)
    assert list(z_from_text(decode_z(tokenizer, ids))) == list(KINDS)
    assert len(ids) <= grammar.max_tokens()


def test_max_tokens_is_reached(byte_tokenizer):
    grammar = Grammar(byte_tokenizer, ("boxes", "palette"), ["circle"])
    assert grammar.max_tokens() == 15 * 6 + 8 * 5 + 1
    # The first id is the separator where one is legal; the least weight leaves most for others.
    assert len(draw(grammar, lambda ids: ids[0])) == grammar.max_tokens()
    grammar = Grammar(byte_tokenizer, ("description", "tokens"), **SMALL)
    assert grammar.max_tokens() == 1 + 12 + 1 + 3 + 6 + 1
    assert len(draw(grammar, lambda ids: ids[0])) == grammar.max_tokens()
    assert Grammar(byte_tokenizer, ("tokens",)).max_tokens() == 1 + 5 + 2 * 32 * 32 + 1


def test_legal_is_exactly_what_step_accepts(grammar, tokenizer):
    rng = random.Random(2)
    for _ in range(4):
        ids = draw(grammar, lambda ids: ids[rng.randrange(len(ids))])
        for cut in rng.sample(range(len(ids) + 1), 8):
            state = grammar.walk(ids[:cut])
            accepted = []
            for token_id in range(-1, len(tokenizer) + 1):
                try:
                    after = grammar.step(state, token_id)
                except LatentError:
                    continue
                accepted.append(token_id)
                assert len(grammar.legal(after))
            assert sorted(grammar.legal(state).tolist()) == accepted


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_z_made_by_hand_is_accepted(tokenizer, plain_z, data):
    z = data.draw(plain_z)
    ids = tokenizer(z_to_text(z)).input_ids
    for labels in (LABELS, None):
        grammar = _grammar(tokenizer, tuple(z), labels, 8, 256)
        assert grammar.done(grammar.walk(ids))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_hostile_text_is_accepted_where_it_is_open(tokenizer, any_z, data):
    z = data.draw(any_z)
    grammar = _grammar(tokenizer, tuple(z), None, 160, 1000)
    assert grammar.done(grammar.walk(tokenizer(z_to_text(z)).input_ids))


_GRAMMARS: dict[tuple, Grammar] = {}


def _grammar(tokenizer, kinds, labels, *longest):
    key = (id(tokenizer), kinds, labels is None, longest)
    if key not in _GRAMMARS:
        _GRAMMARS[key] = Grammar(tokenizer, kinds, labels, *longest)
    return _GRAMMARS[key]


def test_a_description_ends_at_its_limits(tokenizer):
    grammar = Grammar(tokenizer, ("description",), max_description_tokens=4000)
    rng = random.Random(5)
    lengths = set()
    for _ in range(6):  # never the end, unless it alone is legal
        ids = draw(grammar, lambda ids: ids[rng.randrange(max(1, len(ids) - 1))])
        lengths.add(len(decode_z(tokenizer, ids).removeprefix("<description>").lstrip()))
    assert lengths == {MAX_CHARACTERS}
    one = Grammar(tokenizer, ("description",), max_description_tokens=1)
    first = one.legal(one.walk(encode_z(tokenizer, "<description>"))).tolist()
    for text in tokenizer.batch_decode([[token] for token in first]):
        assert Description.from_text(text).text


def test_no_added_token_is_legal_in_a_description(tokenizer):
    grammar = Grammar(tokenizer, ("description", "boxes"), LABELS)
    added = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
    for text in ("<description>", "<description> a quiet", "<description> (50%25"):
        legal = set(grammar.legal(grammar.walk(encode_z(tokenizer, text))).tolist())
        ends = {tokenizer.convert_tokens_to_ids("<boxes>")} if " " in text else set()
        assert legal & added == ends


@pytest.mark.parametrize("shape", [Shape(2, 3, 7), Shape(1, 32, 4096), Shape(2, 2, 1002)])
def test_the_shape_of_tokens_may_be_given(tokenizer, shape):
    grammar = Grammar(tokenizer, ("tokens",), shape=shape)
    rng = random.Random(3)
    for _ in range(20):
        ids = draw(grammar, lambda ids: ids[rng.randrange(len(ids))])
        tokens = z_from_text(decode_z(tokenizer, ids))["tokens"]
        assert isinstance(tokens, Tokens) and tokens.shape == shape


def test_a_number_that_is_not_legal_is_named(tokenizer):
    grammar = Grammar(tokenizer, ("tokens",), shape=Shape(2, 3, 7))
    with pytest.raises(LatentError, match="height .*<2> .*<2>"):
        grammar.walk(encode_z(tokenizer, "<tokens> <3>"))
    large = Grammar(tokenizer, ("tokens",), shape=Shape(2, 3, 4096))
    with pytest.raises(LatentError, match="id 0, second.* <0> .*<91>"):
        large.walk(encode_z(tokenizer, "<tokens> <0><2><3><4><91> <4><92>"))
    with pytest.raises(LatentError, match="2000000"):
        Grammar(tokenizer, ("tokens",), shape=Shape(2, 3, 2000000))


def test_any_shape_of_tokens_may_be_drawn(tokenizer):
    grammar = Grammar(tokenizer, ("tokens",))
    rng = random.Random(4)
    for _ in range(12):
        ids = draw(grammar, lambda ids: ids[rng.randrange(len(ids))])
        assert encode_z(tokenizer, z_to_text(z_from_text(decode_z(tokenizer, ids)))) == ids[:-1]


def test_a_drawn_description_need_not_be_well_formed(byte_tokenizer):
    grammar = Grammar(byte_tokenizer, ("description",))
    text = "<description> a %00%20 100% %E9 %zz"
    ids = [*encode_z(byte_tokenizer, text), byte_tokenizer.eos_token_id]
    assert grammar.done(grammar.walk(ids))
    read = z_from_text(decode_z(byte_tokenizer, ids))["description"]
    assert read == Description("a \ufffd\ufffd 100% \ufffd %zz")


def test_palette_weights_at_their_limits(byte_tokenizer):
    grammar = Grammar(byte_tokenizer, ("palette",))

    def weights(text):
        ids = grammar.legal(grammar.walk(encode_z(byte_tokenizer, text)))
        return [token.strip("<>") for token in byte_tokenizer.convert_ids_to_tokens(ids.tolist())]

    first = weights("<palette> <0><0><0>")
    assert (first[0], first[-1]) == ("125", "1000")
    assert weights("<palette> <0><0><0><125><;><0><0><0>") == ["125"]
    assert weights("<palette> <0><0><0><400><;><0><0><0>")[-1] == "400"
    assert weights("<palette> <0><0><0><999><;><0><0><0>") == ["1"]
    assert weights("<palette> <0><0><0><1000>") == ["/s"]
    assert weights("<palette> <0><0><0><999>") == [";"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("circle <1>", "token 0: .*<boxes>"),
        ("<palette> <1>", "token 0: .*<boxes>"),
        ("<boxes> <1>", "token 1: .*label"),
        ("<boxes> circle circle <1>", "token 2: .*label .*number"),
        ("<boxes> circle <5><5><5>", "token 4: '<5>' .*x2 .*<6> .*<1000>"),
        ("<boxes> circle <5><5><6><6> <5>", "token 6: .*<;> .*<palette>"),
        ("<boxes> circle <5><5><6><6> <blobs>", "token 6: .*<;> .*<palette>"),
    ],
)
def test_the_error_of_an_illegal_prefix_names_its_position_and_the_options(tokenizer, text, names):
    grammar = Grammar(tokenizer, ("boxes", "palette"), ["circle"])
    with pytest.raises(LatentError, match=names):
        grammar.walk(encode_z(tokenizer, text))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<description> <tokens>", "token 1: .* text\\."),
        ("<description> a <5>", " text .*<tokens>"),
        ("<description> a <tokens> <1><2><0><1>", "id 0 .*<0> .*<0>"),
        ("<description> a <tokens> <1><2><0><0><0><0>", "</s>"),
        ("<description> a <tokens> <33>", "height .*<0> .*<32>"),
    ],
)
def test_an_illegal_prefix_of_text_and_grid(tokenizer, text, names):
    grammar = Grammar(tokenizer, ("description", "tokens"))
    with pytest.raises(LatentError, match=names):
        grammar.walk(encode_z(tokenizer, text))


def test_a_fixed_prefix_is_kept(tokenizer):
    grammar = Grammar(tokenizer, ("boxes", "palette"), LABELS)
    prefix = encode_z(tokenizer, "<boxes> ring <1><2><900>")
    state = grammar.walk(prefix)
    rest = draw_from(grammar, state)
    boxes = z_from_text(decode_z(tokenizer, [*prefix, *rest]))["boxes"]
    assert isinstance(boxes, Boxes)
    assert (boxes.items[0].label, boxes.items[0].x2) == ("ring", 900)


def draw_from(grammar, state):
    ids = []
    while not grammar.done(state):
        ids.append(int(grammar.legal(state)[-1]))
        state = grammar.step(state, ids[-1])
    return ids


def test_masks_of_a_batch(tokenizer):
    grammar = Grammar(tokenizer, ("boxes",), LABELS)
    ids = encode_z(tokenizer, "<boxes> ring <1><2><900><1000>") + [tokenizer.eos_token_id]
    states = [grammar.walk(ids[:cut]) for cut in range(len(ids) + 1)]
    mask = grammar.mask(states)
    assert mask.shape == (len(states), len(tokenizer)) and mask.dtype == bool
    for row, state in zip(mask, states, strict=True):
        assert set(np.flatnonzero(row)) == set(grammar.legal(state).tolist())


def test_only_padding_follows_the_end(tokenizer):
    grammar = Grammar(tokenizer, ())
    state = grammar.walk([tokenizer.eos_token_id])
    assert grammar.done(state)
    assert grammar.legal(state).tolist() == [tokenizer.pad_token_id]
    assert grammar.step(state, tokenizer.pad_token_id) == state
    with pytest.raises(LatentError):
        grammar.step(state, tokenizer.eos_token_id)


def test_any_order_of_kinds(tokenizer):
    kinds = tuple(reversed(order_kinds(KINDS)))
    ids = draw(Grammar(tokenizer, kinds, LABELS, **SMALL), lambda ids: ids[-1])
    assert tuple(z_from_text(decode_z(tokenizer, ids))) == kinds


def test_bad_arguments(byte_tokenizer, bare_t5_tokenizer):
    for kinds in (("box",), ("boxes", "boxes")):
        with pytest.raises(LatentError):
            Grammar(byte_tokenizer, kinds)
    with pytest.raises(LatentError) as caught:
        Grammar(byte_tokenizer, ("boxes",), [])
    assert caught.value.what == "labels"
    with pytest.raises(KaleidoError) as caught:
        Grammar(bare_t5_tokenizer, ("boxes",))
    assert (caught.value.what, caught.value.code) == ("tokenizer", "bad-model")
