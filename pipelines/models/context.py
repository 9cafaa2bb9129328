"""Context: joins what is known of the caption and of z into the tokens that the denoiser reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


@dataclass(frozen=True)
class States:
    """Hidden states of a batch of sequences.

    Attributes:
        values: (n, length, width).
        mask: bool (n, length), True where a token counts; content elsewhere has no effect.
    """

    values: torch.Tensor
    mask: torch.Tensor

    def expand(self, index: torch.Tensor) -> States:
        """Select (and so repeat) rows."""
        return States(self.values[index], self.mask[index])


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is conditioned on.

    Attributes:
        tokens: (n, length, context_dim), for cross-attention.
        mask: (n, length), 1 where a token counts.
        pooled: (n, context_dim), for the time embedding.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor


class Context(ModelMixin, ConfigMixin):
    """Encoder states over c ‖ decoder states over z, refined together.

    The two parts are projected, marked by a learned segment embedding and concatenated along the
    sequence (Kaleido, arXiv 2405.21048, section 3). A few bidirectional layers then let tokens of
    z meet: the prior is causal and frozen here, so the first corner of a box has not seen the
    last one. Caption and z are pooled apart, since a long z would dilute c in a common mean.

    The null condition is one learned token that counts, not an empty mask: a finite bias on
    every token leaves plain attention over padding.

    Args:
        caption_dim: Width of the caption's states.
        z_dim: Width of the states over z.
        context_dim: Width of the tokens that come out.
        num_layers: Refining layers.
        num_heads: Their attention heads.
    """

    @register_to_config
    def __init__(
        self,
        caption_dim: int = 128,
        z_dim: int = 256,
        context_dim: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        self.caption_projection = nn.Linear(caption_dim, context_dim)
        self.z_projection = nn.Linear(z_dim, context_dim)
        self.segment = nn.Parameter(0.02 * torch.randn(2, context_dim))
        self.null_token = nn.Parameter(0.02 * torch.randn(context_dim))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                context_dim,
                num_heads,
                2 * context_dim,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(context_dim)
        self.pool_caption = nn.Linear(context_dim, context_dim)
        self.pool_z = nn.Linear(context_dim, context_dim, bias=False)  # no z, no change

    def forward(
        self, caption: States, z: States | None = None, drop: torch.Tensor | None = None
    ) -> Conditioning:
        """Join c and z.

        Args:
            caption: States over the caption, width `caption_dim`.
            z: States over z, width `z_dim`; None for a model of p(x|c).
            drop: bool (n,): rows whose condition is replaced by the null condition, c and z
                together (one guidance scale serves both).

        Returns:
            The conditioning of n rows.
        """
        parts = [self.caption_projection(caption.values) + self.segment[0]]
        masks = [caption.mask]
        if z is not None:
            parts.append(self.z_projection(z.values) + self.segment[1])
            masks.append(z.mask)
        tokens, mask = torch.cat(parts, 1), torch.cat(masks, 1)
        if drop is not None:
            first = torch.zeros_like(mask)
            first[:, 0] = True
            tokens = torch.where(drop[:, None, None], self.null_token.expand_as(tokens), tokens)
            mask = torch.where(drop[:, None], first, mask)
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=~mask)
        tokens = self.norm(tokens)
        length = caption.values.shape[1]
        pooled = self.pool_caption(_mean(tokens[:, :length], mask[:, :length]))
        if z is not None:
            pooled = pooled + self.pool_z(_mean(tokens[:, length:], mask[:, length:]))
        return Conditioning(tokens, mask.to(tokens.dtype), pooled)

    def null(self, count: int) -> Conditioning:
        """The null condition for `count` rows."""
        device = self.null_token.device
        width = self.config.caption_dim
        mask = torch.ones(count, 1, dtype=torch.bool, device=device)
        empty = States(torch.zeros(count, 1, width, device=device), mask)
        return self(empty, None, mask[:, 0])


def _mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1.0)
