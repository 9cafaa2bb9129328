"""Drawing z: it parses, it depends on its own seed only, and options do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.latents.sequence import z_from_text
from pipelines.sample.decode import _choose, draw_z

KINDS = ("boxes", "palette")


@pytest.fixture(scope="module")
def encoded(tiny_prior):
    with torch.inference_mode():
        return tiny_prior.encode(["two circles and a star"])


def test_every_drawn_z_parses(tiny_prior, encoded) -> None:
    texts = draw_z(tiny_prior, encoded, KINDS, range(32))
    for text in texts:
        z = z_from_text(text)
        assert tuple(z) == KINDS
        z["boxes"].validate()
        z["palette"].validate()
    assert len(set(texts)) == 32


def test_a_row_depends_on_its_own_seed_only(tiny_prior, encoded) -> None:
    many = draw_z(tiny_prior, encoded, KINDS, range(20))
    few = draw_z(tiny_prior, encoded, KINDS, [17, 3])
    assert few == [many[17], many[3]]


def test_a_subset_of_kinds_can_be_asked_for(tiny_prior, encoded) -> None:
    (text,) = draw_z(tiny_prior, encoded, ("palette",), [0])
    assert set(z_from_text(text)) == {"palette"}


def test_incremental_decoding_equals_a_whole_pass(tiny_prior, encoded) -> None:
    """Greedy decoding token by token picks what one teacher-forced pass would pick."""
    (text,) = draw_z(tiny_prior, encoded, ("palette",), [0], temperature=1e-6)
    ids, mask = tiny_prior.tokenize_z([text])
    with torch.inference_mode():
        logits = tiny_prior.model(
            encoder_outputs=(encoded.values,),
            attention_mask=encoded.mask.long(),
            labels=ids,
        ).logits[0]
    from pipelines.latents.z_grammar import Grammar

    grammar = Grammar(tiny_prior.tokenizer, ("palette",), tiny_prior.labels)
    state = grammar.start()
    for position, token in enumerate(ids[0].tolist()):
        legal = grammar.legal(state)
        assert legal[int(logits[position][legal].argmax())] == token
        state = grammar.step(state, token)
    assert grammar.done(state)


def test_unknown_kinds_and_bad_numbers_are_refused(tiny_prior, encoded) -> None:
    with pytest.raises(KaleidoError) as caught:
        draw_z(tiny_prior, encoded, ("blobs",), [0])
    assert caught.value.code == "model-mismatch"
    with pytest.raises(KaleidoError) as caught:
        draw_z(tiny_prior, encoded, KINDS, [0], temperature=0.0)
    assert caught.value.code == "bad-setting"
    with pytest.raises(KaleidoError) as caught:
        draw_z(tiny_prior, encoded, KINDS, [0], top_p=1.5)
    assert caught.value.code == "bad-setting"


def _shares(logits: np.ndarray, legal: np.ndarray, top_p: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = [_choose(logits, legal, rng, top_p) for _ in range(20_000)]
    return np.bincount(drawn, minlength=len(logits)) / len(drawn)


def test_tokens_are_drawn_with_the_softmax_of_the_legal_ones() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    legal = np.array([True, True, False, True])
    expected = np.array([0.5, 0.3, 0.0, 0.05]) / 0.85
    assert np.abs(_shares(logits, legal, 1.0) - expected).max() < 0.015


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    legal = np.ones(4, dtype=bool)
    shares = _shares(logits, legal, 0.7)
    assert np.abs(shares - np.array([0.625, 0.375, 0.0, 0.0])).max() < 0.015
    assert _shares(logits, legal, 0.01)[0] == 1.0
