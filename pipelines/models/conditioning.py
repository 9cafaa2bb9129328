"""Context: joins what is known of the caption and of z into the tokens that the denoiser reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

if TYPE_CHECKING:
    from pipelines.latents.base import Rect

EVERYWHERE: Rect = (0.0, 0.0, 1.0, 1.0)
"""The rectangle of a token without a place, which speaks of the whole picture: a caption's, a
palette's, a marker. An item may have the same."""

PLACE_FREQUENCIES = 6
"""Octaves of the Fourier features of a rectangle."""

CONTEXT_HEADS = 4
"""Attention heads of the refining layers; they divide the context's width, which is the prior's."""


@dataclass(frozen=True)
class States:
    """Hidden states of a batch of sequences.

    Attributes:
        values: (n, length, width).
        mask: bool (n, length), True where a token counts; content elsewhere has no effect.
        places: (n, length, 4), the rectangle (x1, y1, x2, y2) that a token speaks of, in units of
            the image's side; None if every token speaks of the whole picture.
        placed: bool (n, length), True where that is an item's or a cell's place; None if no token
            has one.
        tints: (n, length, 4), the colour that a token speaks of: red, green and blue in [-1, 1]
            and its share of the picture, all 0 where it speaks of none; None if none does.
        names: bool (n, length), True where a token is a word that names what its place holds;
            None if no token is. Only a token with a place is one.
    """

    values: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor | None = None
    placed: torch.Tensor | None = None
    tints: torch.Tensor | None = None
    names: torch.Tensor | None = None

    def expand(self, index: torch.Tensor) -> States:
        """Select (and so repeat) rows."""
        parts = (self.values, self.mask, self.places, self.placed, self.tints, self.names)
        return States(*(None if part is None else part[index] for part in parts))


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is conditioned on.

    Attributes:
        tokens: (n, length, context_dim), for cross-attention.
        mask: (n, length), 1 where a token counts.
        places: (n, length, 4), see `States`; the whole picture where nothing else is known.
        names: bool (n, length), see `States`.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor
    names: torch.Tensor


class Context(ModelMixin, ConfigMixin):
    """Encoder states over c ‖ decoder states over z, refined together.

    The two parts are projected, marked by a learned segment embedding and concatenated along the
    sequence (Kaleido, arXiv 2405.21048, section 3). A few bidirectional layers then let tokens of
    z meet: the prior is causal and frozen here, so the first corner of a box has not seen the
    last one.

    A token of an item is told the item's rectangle, as Fourier features (GLIGEN, arXiv
    2301.07093, section 3.1), and the item's label: left to itself the network must first discover
    that four tokens are a rectangle and a fifth names what lies in it. Likewise a token of a colour
    is told the colour as pixels have it.

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
        num_heads: int = CONTEXT_HEADS,
    ) -> None:
        super().__init__()
        self.caption_projection = nn.Linear(caption_dim, context_dim)
        self.z_projection = nn.Linear(z_dim, context_dim)
        self.name_projection = nn.Linear(z_dim, context_dim, bias=False)
        self.tint_projection = nn.Linear(4, context_dim, bias=False)
        self.segment = nn.Parameter(0.02 * torch.randn(2, context_dim))
        self.null_token = nn.Parameter(0.02 * torch.randn(context_dim))
        self.place_projection = nn.Sequential(
            nn.Linear(8 * PLACE_FREQUENCIES, context_dim),
            nn.SiLU(),
            nn.Linear(context_dim, context_dim),
        )
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
        masks, places = [caption.mask], [_places(caption)]
        names = [torch.zeros_like(caption.mask)]
        if z is not None:
            where = _places(z)
            fourier = self.place_projection(_fourier(where))
            tokens = self.z_projection(z.values) + fourier + self.segment[1]
            named = torch.zeros_like(z.mask)
            if z.placed is not None and z.names is not None:
                named = z.names & z.mask
                labels = _item_names(z.values, where, z.placed & z.mask, named)
                tokens = tokens + self.name_projection(labels)
            if z.tints is not None:
                tokens = tokens + self.tint_projection(z.tints)
            parts.append(tokens)
            masks.append(z.mask)
            places.append(where)
            names.append(named)
        tokens, mask, place = torch.cat(parts, 1), torch.cat(masks, 1), torch.cat(places, 1)
        name = torch.cat(names, 1)
        if drop is not None:
            first = torch.zeros_like(mask)
            first[:, 0] = True
            tokens = torch.where(drop[:, None, None], self.null_token.expand_as(tokens), tokens)
            mask = torch.where(drop[:, None], first, mask)
            place = torch.where(drop[:, None, None], place.new_tensor(EVERYWHERE), place)
            name = name & ~drop[:, None]
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=~mask)
        return Conditioning(self.norm(tokens), mask.to(tokens.dtype), place, name)

    def null(self, count: int) -> Conditioning:
        """The null condition for `count` rows."""
        device = self.null_token.device
        width = self.config.caption_dim
        mask = torch.ones(count, 1, dtype=torch.bool, device=device)
        empty = States(torch.zeros(count, 1, width, device=device), mask)
        return self(empty, None, mask[:, 0])


def _places(states: States) -> torch.Tensor:
    if states.places is not None:
        return states.places
    return states.values.new_tensor(EVERYWHERE).expand(*states.mask.shape, 4)


def _item_names(
    values: torch.Tensor, places: torch.Tensor, placed: torch.Tensor, names: torch.Tensor
) -> torch.Tensor:
    """For each token, the mean over the words that share its place: its item's label.

    Returns:
        (n, length, width), zero for tokens without a place.
    """
    same = (places[:, :, None] == places[:, None]).all(-1) & placed[:, :, None]
    weights = (same & names[:, None]).to(values.dtype)
    return (weights / weights.sum(-1, keepdim=True).clamp(min=1.0)) @ values


def _fourier(places: torch.Tensor) -> torch.Tensor:
    """Centre and size of rectangles (..., 4) at octaves from half a period to 16 in a picture."""
    corner, end = places[..., :2], places[..., 2:]
    values = torch.cat([(corner + end) / 2.0, end - corner], -1)
    octaves = torch.pi * 2.0 ** torch.arange(PLACE_FREQUENCIES, device=places.device)
    phase = (values[..., None] * octaves).flatten(-2)
    return torch.cat([phase.sin(), phase.cos()], -1)
