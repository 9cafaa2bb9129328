"""A T5's decoder one token at a time, for sampling: the same logits as its own forward pass.

transformers computes masks and positions anew at every token, in Python that takes longer than a
small model's products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

    from pipelines.models.conditioning import States

_Map = Callable[[torch.Tensor], torch.Tensor]

FIRST_ROOM = 64
"""Tokens for which keys and values have room at first; the room doubles when it is full."""


class TokenDecoder:
    """Decodes rows of tokens together, all of them at the same position.

    The shapes of its products depend on the number of rows, on the length of the captions' states
    and on the position alone, so equal ones round alike.

    Args:
        model: T5 1.0, T5 1.1, flan-T5 or mT5, in fp32 or bf16, in evaluation mode.
        caption: Encoder states, (n, length, width).

    Attributes:
        position: Number of tokens that were read.
    """

    def __init__(self, model: T5ForConditionalGeneration, caption: States) -> None:
        config, decoder = model.config, model.get_decoder()
        self.position = 0
        self._heads, self._width = config.num_heads, config.d_kv
        self._embedding, self._head = decoder.embed_tokens.weight, _linear(model.lm_head)
        # T5 1.0 scales its output because its head is its embeddings (arXiv 1910.10683).
        self._scale = config.d_model**-0.5 if _scales(config) else 1.0
        self._norm = _norm(decoder.final_layer_norm)
        self._layers = [self._layer(block, caption.values) for block in decoder.block]
        self._bias_table = decoder.block[0].layer[0].SelfAttention
        hidden = torch.zeros_like(caption.mask, dtype=caption.values.dtype)
        hidden = hidden.masked_fill(~caption.mask, torch.finfo(hidden.dtype).min)
        self._caption_bias = hidden.repeat_interleave(self._heads, 0)[:, None]
        self._grow(FIRST_ROOM)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Read the next token of each row and compute the logits of the one after it.

        Args:
            ids: (n,); the first are the model's start tokens.

        Returns:
            (n, vocabulary of the head).
        """
        if self.position == self._room:
            self._grow(2 * self._room)
        count = self.position + 1
        bias = self._bias[:, :, self._room - count :]
        x = self._embedding[ids]
        for layer in self._layers:
            x = layer.read(x, self.position, bias, self._caption_bias)
        self.position = count
        return self._head(self._norm(x) * self._scale)

    def _layer(self, block: Any, caption: torch.Tensor) -> _Layer:
        return _Layer(block, caption, self._heads, self._width)

    def _grow(self, room: int) -> None:
        """Make room for keys and values of more tokens, and compute their position biases."""
        self._room = room
        for layer in self._layers:
            layer.grow(room)
        # Of the last query, at distances room - 1 to 0; compute_bias, which could tell it too, has
        # other arguments in other versions of transformers.
        table = self._bias_table
        weights = table.relative_attention_bias
        buckets = table._relative_position_bucket(
            torch.arange(1 - room, 1, device=weights.weight.device),
            bidirectional=False,
            num_buckets=table.relative_attention_num_buckets,
            max_distance=table.relative_attention_max_distance,
        )
        bias = weights(buckets).T[:, None]
        rows = len(self._caption_bias) // self._heads
        self._bias = bias.to(self._caption_bias.dtype).repeat(rows, 1, 1)


class _Layer:
    """A decoder layer with its keys and values: of the caption once, of z as they come."""

    def __init__(self, block: Any, caption: torch.Tensor, heads: int, width: int) -> None:
        attention, cross, feed = block.layer
        self._norms = [_norm(part.layer_norm) for part in (attention, cross, feed)]
        own, other = attention.SelfAttention, cross.EncDecAttention
        self._q, self._k, self._v, self._o = map(_linear, (own.q, own.k, own.v, own.o))
        self._cross_q, self._cross_o = _linear(other.q), _linear(other.o)
        self._feed = _feed(feed.DenseReluDense)
        self._width, self._rows = width, len(caption) * heads
        rows = self._rows, caption.shape[1], width
        split = (len(caption), caption.shape[1], heads, width)
        self._caption_k, self._caption_v = (
            part(caption).view(split).transpose(1, 2).reshape(rows) for part in (other.k, other.v)
        )
        self._keys = self._values = caption.new_empty(self._rows, 0, width)

    def grow(self, room: int) -> None:
        """Make room for `room` tokens in all."""
        self._keys, self._values = (
            torch.cat([kept, kept.new_empty(len(kept), room - kept.shape[1], self._width)], 1)
            for kept in (self._keys, self._values)
        )

    def read(
        self, x: torch.Tensor, position: int, bias: torch.Tensor, caption_bias: torch.Tensor
    ) -> torch.Tensor:
        """Compute the layer's output for the token at a position, (n, width of the model)."""
        normed = self._norms[0](x)
        self._keys[:, position] = self._k(normed).view(self._rows, self._width)
        self._values[:, position] = self._v(normed).view(self._rows, self._width)
        keys, values = self._keys[:, : position + 1], self._values[:, : position + 1]
        x = x + self._o(self._attend(self._q(normed), keys, values, bias))
        query = self._cross_q(self._norms[1](x))
        x = x + self._cross_o(self._attend(query, self._caption_k, self._caption_v, caption_bias))
        return x + self._feed(self._norms[2](x))

    def _attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Attend with one query per row and head; T5 does not scale the scores."""
        rows = query.view(self._rows, 1, self._width)
        scores = torch.baddbmm(bias, rows, keys.transpose(1, 2))
        return torch.bmm(scores.softmax(-1), values).view(len(query), -1)


def _scales(config: Any) -> bool:
    return bool(getattr(config, "scale_decoder_outputs", config.tie_word_embeddings))


def _linear(module: nn.Module) -> _Map:
    """Return what a linear layer computes, without the cost of calling a module."""
    if type(module) is nn.Linear:
        return partial(nn.functional.linear, weight=module.weight, bias=module.bias)
    return module  # an adapter or a quantised layer


def _norm(module: Any) -> _Map:
    """Return T5's norm, without mean and offset (RMSNorm, arXiv 1910.07467)."""
    weight = module.weight
    return partial(
        nn.functional.rms_norm,
        normalized_shape=weight.shape,
        weight=weight,
        eps=module.variance_epsilon,
    )


def _feed(module: Any) -> _Map:
    act, out = _ACTIVATIONS.get(type(module.act).__name__, module.act), _linear(module.wo)
    if not hasattr(module, "wi_0"):
        inner = _linear(module.wi)
        return lambda x: out(act(inner(x)))
    gate, inner = _linear(module.wi_0), _linear(module.wi_1)
    return lambda x: out(act(gate(x)) * inner(x))


_ACTIVATIONS: dict[str, _Map] = {
    "NewGELUActivation": partial(nn.functional.gelu, approximate="tanh")
}
"""transformers' class of an activation -> the same function in one operation."""
