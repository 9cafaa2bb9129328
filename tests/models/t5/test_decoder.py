"""Decoding token by token gives the logits of transformers' own pass over the whole."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from pipelines.models.conditioning import States
from pipelines.models.t5.decoder import FIRST_ROOM, TokenDecoder
from tests.models.conftest import load_base

SIZES = {"vocab_size": 90, "d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 3, "num_heads": 2}
LENGTH = FIRST_ROOM + 9


def _t5(feed: str, tied: bool) -> T5ForConditionalGeneration:
    """A T5 whose logits depend on what it read, and whose position biases count."""
    torch.manual_seed(3)
    config = T5Config(**SIZES, feed_forward_proj=feed, decoder_start_token_id=0)
    config.tie_word_embeddings = config.scale_decoder_outputs = tied
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(90, 16))
    bias = model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias
    torch.nn.init.normal_(bias.weight)
    return model.eval()


def _captions(model: T5ForConditionalGeneration) -> States:
    """States of captions of several lengths; what is padding is not zero."""
    values = torch.randn(3, 7, model.config.d_model, dtype=model.dtype)
    mask = torch.tensor([[True] * count + [False] * (7 - count) for count in (7, 2, 5)])
    return States(values, mask)


@torch.inference_mode()
def _compare(model: T5ForConditionalGeneration) -> tuple[torch.Tensor, torch.Tensor]:
    captions = _captions(model)
    ids = torch.randint(2, model.config.vocab_size, (3, LENGTH))
    whole = model(
        encoder_outputs=(captions.values,),
        attention_mask=captions.mask.long(),
        decoder_input_ids=ids,
    ).logits
    decoder = TokenDecoder(model, captions)
    return torch.stack([decoder.step(column) for column in ids.T], 1), whole


@pytest.mark.parametrize("feed", ["relu", "gated-gelu", "gated-silu"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_logits_are_those_of_one_pass(feed, tied) -> None:
    ours, whole = _compare(_t5(feed, tied))
    assert (ours - whole).abs().max() < 1e-4
    assert whole.std() > 0.05  # so a wrong formula would show


def test_a_grown_vocabulary_has_them_too(flan) -> None:
    model = load_base(flan).model.eval()
    ours, whole = _compare(model)
    assert ours.shape[-1] == model.config.vocab_size > 1000
    assert (ours - whole).abs().max() < 1e-4


def test_half_the_precision_is_close(flan) -> None:
    ours, whole = _compare(load_base(flan).model.eval().to(torch.bfloat16))
    assert ours.dtype == torch.bfloat16
    assert (ours - whole).float().abs().max() < 0.05 * whole.float().std() + 0.02


class _Adapter(torch.nn.Module):
    """A layer that adds to a linear one, as LoRA does."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.inner, self.added = inner, torch.nn.Linear(inner.in_features, inner.out_features)
        self.weight = inner.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.added(x)


def test_an_adapted_layer_is_called(flan) -> None:
    model = load_base(flan).model.eval()
    attention = model.decoder.block[1].layer[0].SelfAttention
    torch.manual_seed(0)
    before, _ = _compare(model)
    attention.v = _Adapter(attention.v)
    torch.manual_seed(0)
    ours, whole = _compare(model)
    assert (ours - whole).abs().max() < 1e-4
    assert not torch.allclose(ours, before)


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    model = _t5("gated-gelu", tied=False)
    captions = _captions(model)
    ids = torch.randint(2, 90, (3, 12))
    other = torch.cat([ids[:1], torch.randint(2, 90, (2, 12))])
    swapped = captions.expand(torch.tensor([0, 2, 1]))
    one, two = TokenDecoder(model, captions), TokenDecoder(model, swapped)
    for first, second in zip(ids.T, other.T, strict=True):
        assert torch.equal(one.step(first)[0], two.step(second)[0])
