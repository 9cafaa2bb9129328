"""The networks of an adapter: they read z, and add what it says to the image tokens of a base."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pipelines.models.conditioning import Conditioner, States
from pipelines.models.denoiser.attention import PADDING_SCORE, Grid, local_bias
from pipelines.models.z_tokens import ZTokens


class ZRows(NamedTuple):
    """What the blocks of a base read of z, a row per picture.

    Attributes:
        tokens: (n, length, width).
        mask: bool (n, length), True where a token counts.
        rects: (n, length, 4), see `pipelines.models.conditioning.States`.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    rects: torch.Tensor

    def row(self, at: int) -> ZRows:
        """Return one row."""
        return ZRows(*(part[at : at + 1] for part in self))

    def bias(self, grid: Grid | None, heads: int) -> torch.Tensor:
        """Compute what is added to the scores of image tokens.

        Args:
            grid: Rows and columns of the image tokens, which then attend locally; None if unknown.
            heads: Number of attention heads.

        Returns:
            (n, heads, tokens, length), or without a grid (n, 1, 1, length).
        """
        if grid is not None:
            return local_bias(self.rects, self.mask, grid, heads)
        return (1 - self.mask.to(self.rects.dtype))[:, None, None] * PADDING_SCORE


def grid_of(tokens: int, sides: tuple[int, int] | None) -> Grid | None:
    """Return the rows and columns of image tokens that are listed row by row.

    Args:
        tokens: Their number.
        sides: Height and width of the picture, in any unit.

    Returns:
        None if the sides are unknown, or do not fit the number.
    """
    if sides is None:
        return None
    rows = max(1, round((tokens * sides[0] / sides[1]) ** 0.5))
    return (rows, tokens // rows) if tokens % rows == 0 else None


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
        return ZRows(found.tokens, found.mask.bool(), found.rects)

    def null(self, count: int) -> ZRows:
        """Return the null condition for `count` rows."""
        found = self.refiner.null(count)
        return ZRows(found.tokens, found.mask.bool(), found.rects)


class ZBranch(nn.Module):
    """Cross-attention of image tokens to z; to tokens with a rectangle it is local.

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

    def forward(self, image: torch.Tensor, z: ZRows, bias: torch.Tensor) -> torch.Tensor:
        """Attend to z.

        Args:
            image: Image tokens, (n, tokens, width).
            z: n rows.
            bias: From `ZRows.bias`.

        Returns:
            What is to be added to the image tokens, in their precision.
        """
        normed = self.norm(image.to(self.query.weight.dtype))
        tokens = z.tokens.to(normed.dtype)
        parts = (self.query(normed), self.key(tokens), self.value(tokens))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        added: torch.Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return added.to(image.dtype)
