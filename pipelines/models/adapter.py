"""The networks of an adapter: they read z, and add what it says to the image tokens of a base."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pipelines.models.conditioning import Conditioner, States
from pipelines.models.z_tokens import ZTokens


class ZRows(NamedTuple):
    """What the blocks of a base read of z, a row per picture.

    Attributes:
        tokens: (n, length, width).
        mask: bool (n, length), True where a token counts.
    """

    tokens: torch.Tensor
    mask: torch.Tensor


class ZReader(nn.Module):
    """Reads z: an embedding of its tokens, and the conditioner of our own models.

    Unlike the states of a prior, it is trained with the adapter, so that an adapter can be used
    with any planner and outlives the prior. It computes in fp32, as places need it.

    Args:
        vocab_size: Entries of the vocabulary.
        width: Width of the tokens.
        layers: Bidirectional layers.
        heads: Their attention heads.
        z_noise: Whether it is told how much noise z has.
    """

    def __init__(
        self, vocab_size: int, width: int, layers: int, heads: int, z_noise: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.refiner = Conditioner(
            caption_dim=None,
            z_dim=width,
            context_dim=width,
            num_layers=layers,
            num_heads=heads,
            z_noise=z_noise,
        )

    def forward(self, z: ZTokens, drop: torch.Tensor | None = None) -> ZRows:
        """Read z.

        Args:
            z: n rows, on the device of the weights.
            drop: bool (n,), rows that become the null condition.
        """
        places = torch.arange(z.ids.shape[1], device=z.ids.device)
        embedded = self.embedding(z.ids)
        embedded = embedded + get_timestep_embedding(places, embedded.shape[-1])
        states = States(embedded, *z[1:])
        found = self.refiner(None, states, drop)
        return ZRows(found.tokens, found.mask.bool())

    def null(self, count: int) -> ZRows:
        """Return the null condition for `count` rows."""
        found = self.refiner.null(count)
        return ZRows(found.tokens, found.mask.bool())


class ZBranch(nn.Module):
    """Cross-attention of image tokens to z.

    Its output projection is zero at first, so an untrained branch adds nothing. In a trial a gate
    (tanh of a scalar) opened more slowly.

    Args:
        width: Channels of the image tokens.
        z_width: Width of the tokens of z.
        inner: Width of the attention.
        heads: Its heads.
    """

    def __init__(self, width: int, z_width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(z_width, inner, bias=False)
        self.value = nn.Linear(z_width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, image: torch.Tensor, z: ZRows) -> torch.Tensor:
        """Return what is to be added to image tokens, (n, tokens, width), in their precision."""
        normed = self.norm(image.to(self.query.weight.dtype))
        tokens = z.tokens.to(normed.dtype)
        parts = (self.query(normed), self.key(tokens), self.value(tokens))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = scaled_dot_product_attention(query, key, value, z.mask[:, None, None])
        added: torch.Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return added.to(image.dtype)
