"""Lists with requirements: every walk meets them, and every list that meets them can be written."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.latents.grammar.items import ItemGrammar
from pipelines.latents.grammar.required import Region, Required, RequiredItems
from pipelines.latents.registry import latent_class
from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import LatentError
from pipelines.latents.vocabulary import decode_z, encode_label, encode_z, train_tokenizer
from pipelines.latents.z_grammar import Grammar

LABELS = ("circle", "star", "traffic light")
LEFT, RIGHT = Region((0, 666), (0, 2000)), Region((1334, 2000), (0, 2000))
TOP = Region((0, 2000), (0, 666))
CASES = {
    "a place": Required(needs=(("star", LEFT),)),
    "two places": Required(total=2, needs=(("star", LEFT), ("star", TOP))),
    "a place each": Required(total=3, needs=(("star", LEFT), ("circle", RIGHT))),
    "counts": Required(total=4, exact=(("circle", 3),)),
    "none of one": Required(exact=(("circle", 0),), needs=(("star", None),)),
    "forbidden": Required(forbidden=frozenset({"star", "circle"})),
    "a place of all": Required(exact=(("star", 2),), needs=(("star", TOP), ("star", TOP))),
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a circle, a star and a traffic light"] * 50, 1400)


def grammars(tokenizer, kind, required, closed=True):
    """The usual grammar of a kind, and the one with requirements."""
    base = Grammar(tokenizer, (kind,), LABELS if closed else None)
    asked = {label for label, _ in (*required.needs, *required.exact)}
    names = [n for n in LABELS if n not in required.forbidden] if closed else sorted(asked)
    ids = {name: tuple(encode_label(tokenizer, name)) for name in names}

    def narrower(part, end):
        assert isinstance(part, ItemGrammar)
        return RequiredItems(part, required, ids, closed)

    return base, base.replacing({kind: narrower})


def walk(grammar, rng, stop=0.5):
    """Write a part at random; where it may end, it ends with a probability."""
    state, ids = grammar.start(), []
    while not grammar.done(state):
        legal = grammar.legal(state)
        assert len(legal), "a dead end"
        token = int(rng.choice(legal))
        if len(legal) == 2 and 1 in legal:  # the separator or the end
            token = 1 if rng.random() < stop else int(legal[legal != 1][0])
        ids.append(token)
        state = grammar.step(state, token)
    return ids


def holds(required, kind, tokenizer, ids):
    latent = z_from_text(decode_z(tokenizer, ids))[kind]
    cls = latent_class(kind)
    centres = [cls.centre(cls._numbers_of(item)) for item in latent.items]
    return required.holds([item.label for item in latent.items], centres)


@pytest.mark.parametrize("kind", ["boxes", "blobs"])
@pytest.mark.parametrize("name", CASES)
def test_every_walk_meets_what_is_required(tokenizer, kind, name):
    _, grammar = grammars(tokenizer, kind, CASES[name])
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert holds(CASES[name], kind, tokenizer, walk(grammar, rng, stop=0.3))


@pytest.mark.parametrize("kind", ["boxes", "blobs"])
@pytest.mark.parametrize("name", CASES)
def test_every_list_that_meets_it_can_be_written(tokenizer, kind, name):
    base, grammar = grammars(tokenizer, kind, CASES[name])
    rng = np.random.default_rng(1)
    met = 0
    for _ in range(3000):
        if met == 3:
            break
        ids = walk(base, rng)
        if holds(CASES[name], kind, tokenizer, ids):
            met += 1
            assert grammar.done(grammar.walk(ids))
    assert met


def test_free_labels_meet_it_too(tokenizer):
    required = Required(total=2, needs=(("star", LEFT),), forbidden=frozenset({"circle"}))
    _, grammar = grammars(tokenizer, "boxes", required, closed=False)
    rng = np.random.default_rng(2)
    for _ in range(20):
        assert holds(required, "boxes", tokenizer, walk(grammar, rng))
    other = encode_z(tokenizer, "<boxes> dog <1><1><9><9> <;> star <1><1><9><9>")
    assert grammar.done(grammar.walk([*other, tokenizer.eos_token_id]))
    barred = encode_z(tokenizer, "<boxes> circle <1><1><9><9> <;> star <1><1><9><9>")
    with pytest.raises(LatentError):
        grammar.walk(barred)


def test_a_list_that_cannot_be_is_refused_at_once(tokenizer):
    with pytest.raises(LatentError):
        grammars(tokenizer, "boxes", Required(total=1, needs=(("star", LEFT), ("circle", None))))
    with pytest.raises(LatentError):
        grammars(tokenizer, "boxes", Required(forbidden=frozenset(LABELS)))


def test_each_need_has_an_object_of_its_own():
    both = Required(needs=(("star", LEFT), ("star", None)))
    assert not both.holds(["star"], [(100, 100)])
    assert both.holds(["star", "star"], [(1500, 1500), (100, 100)])
    # The first object meets both; the matching gives it to the need that no other can meet.
    crossed = Required(needs=(("star", TOP), ("star", LEFT)))
    assert crossed.holds(["star", "star"], [(100, 100), (1500, 100)])
    assert crossed.missing(["star"], [(100, 100)]) == {"star": 1}
