"""Drawing z: it parses, it depends on its own seed only, and options do what they say."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.core.seeds import derive
from pipelines.latents.sequence import z_from_text
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.conditioning import States
from pipelines.models.new_prior import build_prior
from pipelines.models.prior import Prior
from pipelines.sample.choice import Decoding
from pipelines.sample.decode import ROWS, STEP, Row, decode, draw_rows, draw_z
from pipelines.workspace.settings import PriorSettings

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
    (text,) = draw_z(tiny_prior, encoded, ("palette",), [0], Decoding(top_k=1))
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


def test_unknown_kinds_are_refused(tiny_prior, encoded) -> None:
    with pytest.raises(KaleidoError) as caught:
        draw_z(tiny_prior, encoded, ("blobs",), [0])
    assert caught.value.code == "model-mismatch"


CAPTIONS = ("a star", "two circles and a star on a green background", "fog", "three red hearts")


def test_a_z_does_not_depend_on_the_captions_beside_it(tiny_prior) -> None:
    with torch.inference_mode():
        states = [tiny_prior.encode([caption]) for caption in CAPTIONS]
    assert len({each.mask.shape[1] for each in states}) > 2
    rows = [Row(state, seed) for seed in range(5) for state in states]
    together = draw_rows(tiny_prior, rows, KINDS)
    assert len(set(together)) == len(rows) > ROWS
    for number, state in enumerate(states):
        alone = draw_z(tiny_prior, state, KINDS, range(5))
        assert alone == together[number :: len(states)]
    assert draw_rows(tiny_prior, rows[::-1], KINDS) == together[::-1]


@torch.inference_mode()
def test_captions_of_other_padded_lengths_have_groups_of_their_own(tiny_prior, monkeypatch) -> None:
    states = [tiny_prior.encode([caption]) for caption in ("a star", "two circles and " * 12)]
    assert states[0].mask.shape[1] < STEP < states[1].mask.shape[1]
    groups = []

    def noted(prior, rows, *rest):
        groups.append({row.caption.mask.shape[1] for row in rows})
        return decode(prior, rows, *rest)

    monkeypatch.setattr("pipelines.sample.decode.decode", noted)
    rows = [Row(state, seed) for seed in range(3) for state in states]
    together = draw_rows(tiny_prior, rows, ("palette",))
    assert groups == [{state.mask.shape[1]} for state in states]
    for number, state in enumerate(states):
        alone = draw_z(tiny_prior, state, ("palette",), range(3))
        assert alone == together[number::2]


@pytest.fixture(scope="module")
def writer() -> Prior:
    """A tiny untrained prior that writes descriptions, then boxes."""
    torch.manual_seed(2)
    kinds = ("description", "boxes")
    settings = PriorSettings(d_model=16, d_ff=16, layers=1, heads=2, z_kinds=kinds)
    tokenizer = train_tokenizer(["a red star on fog", "two blue stars"], 1500)
    prior = build_prior(settings, tokenizer, ("star",))
    prior.max_description_tokens = 40
    prior.model.eval()
    return prior


@torch.inference_mode()
def test_a_description_repeats_nothing_where_that_is_forbidden(writer) -> None:
    """Labels and numbers of boxes repeat as before."""
    rows = [Row(writer.encode(["a star"]), seed) for seed in range(ROWS)]
    free, held = (
        decode(writer, rows, writer.grammar(writer.z_kinds), decoding)
        for decoding in (Decoding(temperature=0.3), Decoding(temperature=0.3, no_repeat_ngram=1))
    )
    end = writer.tokenizer.convert_tokens_to_ids("<boxes>")
    for drawn, repeats in ((free, True), (held, False)):
        texts = [ids[: ids.index(end)] for ids in drawn]
        assert any(len(set(text)) < len(text) for text in texts) == repeats
        boxes = [ids[ids.index(end) :] for ids in drawn]
        assert any(len(set(part)) < len(part) for part in boxes)


def test_rules_against_repetition_leave_boxes_alone(writer) -> None:
    encoded = writer.encode(["a star"])
    held = Decoding(repetition_penalty=9.0, no_repeat_ngram=1)
    own, other = (
        draw_z(writer, encoded, ("boxes",), range(ROWS), each) for each in (Decoding(), held)
    )
    assert own == other


class Anything:
    """A grammar that allows every token, for rows of one length."""

    def __init__(self, vocab_size: int, length: int) -> None:
        self.vocab_size, self._length = vocab_size, length
        self._legal = np.arange(vocab_size)

    def start(self) -> int:
        return 0

    def done(self, state: int) -> bool:
        return state == self._length

    def in_text(self, state: int) -> bool:
        return False

    def legal(self, state: int) -> np.ndarray:
        return self._legal

    def step(self, state: int, token: int) -> int:
        return state + 1


@torch.inference_mode()
def _drawn_by_generate(prior: Prior, encoded: States, count: int, length: int) -> np.ndarray:
    torch.manual_seed(0)
    drawn = prior.model.generate(
        encoder_outputs=BaseModelOutput(encoded.values.expand(count, -1, -1)),
        attention_mask=encoded.mask.expand(count, -1).long(),
        do_sample=True,
        top_k=0,
        min_new_tokens=length,
        max_new_tokens=length,
        eos_token_id=[],
    )
    return drawn[:, 1:].numpy()


@pytest.mark.slow
@torch.inference_mode()
def test_without_a_grammar_tokens_are_distributed_as_those_of_generate(tiny_prior) -> None:
    """A chi-squared test of equal distributions on 20,000 tokens of each, place by place."""
    count, length, size = 5000, 4, len(tiny_prior.tokenizer)
    prior = deepcopy(tiny_prior)
    prior.model.decoder.final_layer_norm.weight.mul_(6.0)  # some tokens are likely, many are not
    encoded = prior.encode(["two circles"])
    ours: list[list[int]] = []
    for group in in_batches([Row(encoded, derive(1, "row", str(n))) for n in range(count)], ROWS):
        ours += decode(prior, group, Anything(size, length), Decoding())
    theirs = _drawn_by_generate(prior, encoded, count, length)
    other = _drawn_by_generate(tiny_prior, encoded, count, length)
    assert abs(_deviations(np.array(ours), theirs)) < 4.0
    assert _deviations(np.array(ours), other) > 20.0  # the test can tell distributions apart


def _deviations(one: np.ndarray, other: np.ndarray) -> float:
    """How far the statistic of equal distributions is from its mean, in standard deviations.

    Tokens that both have fewer than ten times together are counted as one.
    """
    statistic = freedom = 0.0
    for place in range(one.shape[1]):
        counts = np.stack([np.bincount(each[:, place], minlength=2000) for each in (one, other)])
        rare = counts.sum(0) < 10
        cells = np.c_[counts[:, ~rare], counts[:, rare].sum(1)]
        cells = cells[:, cells.sum(0) > 0]
        statistic += (np.diff(cells, axis=0) ** 2 / cells.sum(0)).sum()
        freedom += cells.shape[1] - 1
    return float((statistic - freedom) / np.sqrt(2.0 * freedom))
