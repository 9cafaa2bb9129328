"""How likely z is, under a prior whose logits are known, by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.new_prior import build_prior
from pipelines.sample.likelihood import log_masses, structure_nats, surprises, z_nats
from pipelines.workspace.settings import PriorSettings

CAPTION = "two circles and a star"
ONE = "<boxes> star <100><100><300><300>"
TWO = f"{ONE} <;> star <100><100><300><300>"
SLIP = 6.0
"""Nats by which the prior holds a separator for less likely than the end."""


@pytest.fixture(scope="module")
def prior():
    """A prior that holds all tokens for equally likely, but for separators."""
    torch.manual_seed(0)
    settings = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=("boxes", "palette"))
    prior = build_prior(settings, train_tokenizer([CAPTION] * 200, 1300), ("circle", "star"))
    prior.model.eval()

    def z_logits(caption, ids):
        logits = torch.zeros(*ids.shape, len(prior.tokenizer))
        logits[..., prior.tokenizer.convert_tokens_to_ids("<;>")] = -SLIP
        return logits

    prior.z_logits = z_logits
    return prior


@pytest.fixture(scope="module")
def encoded(prior):
    with torch.inference_mode():
        return prior.encode([CAPTION])


def choices(prior, text: str) -> list[int]:
    """Return how many tokens are legal at each place."""
    grammar = prior.grammar(("boxes",))
    state, found = grammar.start(), []
    for token in prior.tokenize_z([text])[0][0].tolist():
        found.append(len(grammar.legal(state)))
        state = grammar.step(state, token)
    return found


def expected(prior, text: str) -> list[float]:
    """Return the nats of each token: those of an even choice, but where a separator is legal."""
    separator = prior.tokenizer.convert_tokens_to_ids("<;>")
    grammar = prior.grammar(("boxes",))
    state, found = grammar.start(), []
    for token in prior.tokenize_z([text])[0][0].tolist():
        legal = grammar.legal(state).tolist()
        total = sum(exp(-SLIP) if each == separator else 1.0 for each in legal)
        found.append(log(total) + (SLIP if token == separator else 0.0))
        state = grammar.step(state, token)
    return found


def test_nats_are_of_what_the_grammar_allows(prior) -> None:
    texts = [ONE, "<boxes> hat <1><1><9><9>", "no z", TWO]
    first, hat, none, second = z_nats(prior, CAPTION, texts)
    assert hat is None and none is None
    assert first == pytest.approx(expected(prior, ONE))
    assert second == pytest.approx(expected(prior, TWO))
    assert 1 in choices(prior, ONE) and max(choices(prior, ONE)) > 400
    many = z_nats(prior, CAPTION, [ONE, TWO] * 9 + [ONE])  # more than are read together
    assert len(many) == 19
    for place, found in enumerate(many):
        np.testing.assert_allclose(found, (first, second)[place % 2])


def test_structure_is_all_but_numbers(prior) -> None:
    texts = [ONE, TWO]
    nats = z_nats(prior, CAPTION, texts)
    ids = [prior.tokenize_z([text])[0][0].tolist() for text in texts]
    by_hand = []
    for row, each in zip(ids, nats, strict=True):
        words = prior.tokenizer.convert_ids_to_tokens(row)
        by_hand.append(sum(n for w, n in zip(words, each, strict=True) if not w[1:-1].isdigit()))
    assert structure_nats(prior, texts, nats) == pytest.approx(by_hand)
    assert 0 < by_hand[0] < by_hand[1] - SLIP + 1


def test_free_text_is_no_structure(prior, monkeypatch) -> None:
    monkeypatch.setattr(prior, "z_kinds", ("description", "boxes"))
    text = f"<description> a star <boxes> {ONE.removeprefix('<boxes> ')}"
    ids = prior.tokenize_z([text])[0][0].tolist()
    words = prior.tokenizer.convert_ids_to_tokens(ids)
    nats = np.arange(1.0, len(ids) + 1)
    begin = words.index("<boxes>")
    counted = [0, *(place for place in range(begin, len(ids)) if not words[place][1:-1].isdigit())]
    assert structure_nats(prior, [text], [nats]) == [sum(nats[place] for place in counted)]


def test_surprises_of_many_z_are_each_its_own(prior, encoded) -> None:
    slip, end = exp(-SLIP) / (1 + exp(-SLIP)), 1 / (1 + exp(-SLIP))
    entropy = -slip * log(slip) - end * log(end)
    found = surprises(prior, [encoded] * 19, [ONE, TWO] * 9 + [TWO])
    assert found[:18:2] == [0.0] * 9
    assert found[1::2] + found[18:] == pytest.approx([-log(slip) - entropy] * 10)


def test_masses_of_many_z_are_what_the_mask_left(prior, encoded) -> None:
    """A grammar that allows one z leaves all of its probability: w = p."""
    from pipelines.latents.grammar.fixed import FixedPart

    whole = prior.grammar(("boxes",))
    found = log_masses(prior, [encoded] * 17, [ONE] * 17, whole)
    assert found == [0.0] * 17
    ids = prior.tokenize_z([ONE])[0][0].tolist()
    fixed = whole.replacing({"boxes": lambda part, end: FixedPart(ids[1:-1], end)})
    nats = z_nats(prior, CAPTION, [ONE])[0].sum()
    assert log_masses(prior, [encoded] * 17, [ONE] * 17, fixed) == pytest.approx([-nats] * 17)
    hot = sum(log(sum(exp(x / 2) for x in row)) for row in logits_of(prior, ONE))
    assert log_masses(prior, [encoded], [ONE], fixed, 2.0) == pytest.approx([-hot])


def logits_of(prior, text: str) -> list[list[float]]:
    """Return the logits that are legal at each place of a z without separators."""
    separator = prior.tokenizer.convert_tokens_to_ids("<;>")
    grammar = prior.grammar(("boxes",))
    state, found = grammar.start(), []
    for token in prior.tokenize_z([text])[0][0].tolist():
        legal = grammar.legal(state).tolist()
        found.append([-SLIP if each == separator else 0.0 for each in legal])
        state = grammar.step(state, token)
    return found
