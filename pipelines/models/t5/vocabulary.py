"""Rows of new tokens in a T5's embeddings and head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pipelines.latents.text import GRID

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration


@torch.no_grad()
def grow(model: T5ForConditionalGeneration, known: int, size: int) -> None:
    """Make room for new tokens, whose rows are drawn like those of the known ones.

    The rows of a random known token give logits that a pretrained decoder keeps in their place;
    rows around zero would get most of the probability, where the mean logit is well below it
    (Hewitt, "Initializing new word embeddings for pretrained language models", 2021).

    Args:
        model: It is changed. Checkpoints have more rows than their tokenizers have tokens: what
            was never a token has no meaning, and is drawn anew as well.
        known: Tokens that the checkpoint knows; their rows stay.
        size: Tokens in all.
    """
    if model.config.vocab_size < size:
        model.resize_token_embeddings(size, mean_resizing=False)
    for table in _tables(model):
        spread, mean = torch.std_mean(table[:known], 0)
        table[known:size] = mean + spread * torch.randn_like(table[known:size])


@torch.no_grad()
def smooth_numbers(model: T5ForConditionalGeneration, ids: Sequence[int]) -> None:
    """Initialise neighbouring numbers with similar rows, in the embeddings and in the head.

    A thousand unrelated tokens would each have to be seen often; with Fourier features of the
    value, what is learned about <500> holds for <501>. Frequencies rise geometrically from one
    half to 64 periods over the grid.

    Args:
        model: It is changed.
        ids: Tokens of the numbers in ascending order.
    """
    half = model.config.d_model // 2
    frequencies = 0.5 * 128.0 ** (torch.arange(half) / max(half - 1, 1))
    phase = 2.0 * math.pi * torch.arange(GRID + 1)[:, None] / GRID * frequencies[None]
    # Low frequencies weigh more, so similarity falls smoothly with distance.
    weight = frequencies.rsqrt()
    features = torch.cat([phase.cos() * weight, phase.sin() * weight], dim=1)
    features = features - features.mean(0)  # no number is likelier than another token at first
    features = features / features.pow(2).mean().sqrt()
    for table in _tables(model):
        spread, mean = torch.std_mean(table, 0)
        table[ids] = mean + spread * features[:, : table.shape[1]]


def _tables(model: T5ForConditionalGeneration) -> list[torch.nn.Parameter]:
    """The matrices with a row for each token: the embeddings, and the head if it is not tied."""
    shared, head = model.shared.weight, model.lm_head.weight
    return [shared] if head is shared else [shared, head]
