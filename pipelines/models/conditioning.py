"""Conditioning: joins the states of caption and z into the tokens that the denoiser reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

if TYPE_CHECKING:
    from pipelines.latents.base import Rect

EVERYWHERE: Rect = (0.0, 0.0, 1.0, 1.0)
"""The rectangle of a token that refers to the whole image: of a caption, a palette, a marker. An
item may have the same."""

RECT_FREQUENCIES = 6
"""Octaves of the Fourier features of a rectangle."""

CONDITIONER_HEADS = 4
"""Attention heads of the refining layers; they divide the width, which is the prior's."""


@dataclass(frozen=True)
class States:
    """Hidden states of a batch of sequences.

    Attributes:
        values: (n, length, width).
        mask: bool (n, length), True where a token counts; content elsewhere has no effect.
        rects: (n, length, 4), the rectangle (x1, y1, x2, y2) that a token refers to, in units of
            the image's side; None if every token refers to the whole image.
        grounded: bool (n, length), True where that is an item's rectangle or a cell; None if no
            token has one.
        colours: (n, length, 4), the colour that a token refers to: red, green and blue in [-1, 1]
            and its share of the image, all 0 for none; None if no token has one.
        names: bool (n, length), True where a token is a word that names the content of its
            rectangle; None if no token is. Only grounded tokens are.
        noise: (n,), how much noise z has, see `pipelines.latents.noise`; None for none.
    """

    values: torch.Tensor
    mask: torch.Tensor
    rects: torch.Tensor | None = None
    grounded: torch.Tensor | None = None
    colours: torch.Tensor | None = None
    names: torch.Tensor | None = None
    noise: torch.Tensor | None = None

    def expand(self, index: torch.Tensor) -> States:
        """Select (and so repeat) rows."""
        parts = (getattr(self, item.name) for item in fields(self))
        return States(*(None if part is None else part[index] for part in parts))


@dataclass(frozen=True)
class Conditioning:
    """The input of the denoiser besides the noisy image.

    Attributes:
        tokens: (n, length, context_dim), for cross-attention.
        mask: (n, length), 1 where a token counts.
        rects: (n, length, 4), see `States`; the whole image where nothing else is known.
        names: bool (n, length), see `States`.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    rects: torch.Tensor
    names: torch.Tensor


class Conditioner(ModelMixin, ConfigMixin):
    """Refines encoder states of c and decoder states of z together.

    Both are projected, marked by a learned segment embedding and concatenated along the sequence
    (Kaleido, arXiv 2405.21048, section 3). A few bidirectional layers then let tokens of z attend
    to each other: the prior is causal and frozen here, so its state for the first corner of a box
    cannot depend on the last.

    To a token of an item are added the item's rectangle, as Fourier features (GLIGEN, arXiv
    2301.07093, section 3.1), and the item's label. Otherwise the network would first have to
    discover that four tokens form a rectangle and a fifth names its content. A token of a colour
    likewise receives the colour's RGB values.

    The null condition is one learned token that counts, not an empty mask: attention with a finite
    bias on every token would attend to padding.

    Args:
        caption_dim: Width of the caption's states; None if z alone is read.
        z_dim: Width of the states of z.
        context_dim: Width of the resulting tokens.
        num_layers: Refining layers.
        num_heads: Their attention heads.
        z_noise: Whether it is told how much noise z has: a learned token, zero at first, is added
            to those of z in proportion.
    """

    @register_to_config
    def __init__(
        self,
        caption_dim: int | None = 128,
        z_dim: int = 256,
        context_dim: int = 128,
        num_layers: int = 2,
        num_heads: int = CONDITIONER_HEADS,
        z_noise: bool = False,
    ) -> None:
        super().__init__()
        # The names and the order of submodules are those of saved weights and checkpoints.
        self.caption_projection = (
            None if caption_dim is None else nn.Linear(caption_dim, context_dim)
        )
        self.z_projection = nn.Linear(z_dim, context_dim)
        self.name_projection = nn.Linear(z_dim, context_dim, bias=False)
        self.tint_projection = nn.Linear(4, context_dim, bias=False)
        self.segment = nn.Parameter(0.02 * torch.randn(2, context_dim))
        self.null_token = nn.Parameter(0.02 * torch.randn(context_dim))
        self.noise_token = nn.Parameter(torch.zeros(context_dim)) if z_noise else None
        self.place_projection = nn.Sequential(
            nn.Linear(8 * RECT_FREQUENCIES, context_dim),
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
        self, caption: States | None, z: States | None = None, drop: torch.Tensor | None = None
    ) -> Conditioning:
        """Join c and z.

        Args:
            caption: States of the caption, width `caption_dim`; None without that width.
            z: States of z, width `z_dim`; None for a model of p(x|c).
            drop: bool (n,): rows whose condition is replaced by the null condition, c and z
                together (one guidance scale serves both).

        Returns:
            The conditioning of n rows.
        """
        parts, masks, rects, names = [], [], [], []
        if caption is not None and self.caption_projection is not None:
            parts.append(self.caption_projection(caption.values) + self.segment[0])
            masks.append(caption.mask)
            rects.append(_rects(caption))
            names.append(torch.zeros_like(caption.mask))
        if z is not None:
            tokens, named = self._embed_z(z)
            parts.append(tokens)
            masks.append(z.mask)
            rects.append(_rects(z))
            names.append(named)
        tokens, mask, rect = torch.cat(parts, 1), torch.cat(masks, 1), torch.cat(rects, 1)
        name = torch.cat(names, 1)
        if drop is not None:
            first = torch.zeros_like(mask)
            first[:, 0] = True
            tokens = torch.where(drop[:, None, None], self.null_token.expand_as(tokens), tokens)
            mask = torch.where(drop[:, None], first, mask)
            rect = torch.where(drop[:, None, None], rect.new_tensor(EVERYWHERE), rect)
            name = name & ~drop[:, None]
        return self._refine(tokens, mask, rect, name)

    def _refine(
        self, tokens: torch.Tensor, mask: torch.Tensor, rects: torch.Tensor, names: torch.Tensor
    ) -> Conditioning:
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=~mask)
        return Conditioning(self.norm(tokens), mask.to(tokens.dtype), rects, names)

    def _embed_z(self, z: States) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of z, (n, length, context_dim), and which of them are names."""
        rects = _rects(z)
        tokens = self.z_projection(z.values) + self.place_projection(_fourier(rects))
        tokens = tokens + self.segment[1]
        named = torch.zeros_like(z.mask)
        if z.grounded is not None and z.names is not None:
            named = z.names & z.mask
            labels = _item_labels(z.values, rects, z.grounded & z.mask, named)
            tokens = tokens + self.name_projection(labels)
        if z.colours is not None:
            tokens = tokens + self.tint_projection(z.colours)
        if z.noise is not None and self.noise_token is not None:
            tokens = tokens + z.noise[:, None, None] * self.noise_token
        return tokens, named

    def null(self, count: int) -> Conditioning:
        """Return the null condition for `count` rows."""
        tokens = self.null_token.expand(count, 1, -1)
        mask = torch.ones(count, 1, dtype=torch.bool, device=tokens.device)
        rects = tokens.new_tensor(EVERYWHERE).expand(count, 1, 4)
        return self._refine(tokens, mask, rects, torch.zeros_like(mask))


def _rects(states: States) -> torch.Tensor:
    if states.rects is not None:
        return states.rects
    return states.values.new_tensor(EVERYWHERE).expand(*states.mask.shape, 4)


def _item_labels(
    values: torch.Tensor, rects: torch.Tensor, grounded: torch.Tensor, names: torch.Tensor
) -> torch.Tensor:
    """Average, for each token, the states of the words with the same rectangle: its item's label.

    Returns:
        (n, length, width), zero for tokens that are not grounded.
    """
    same = (rects[:, :, None] == rects[:, None]).all(-1) & grounded[:, :, None]
    weights = (same & names[:, None]).to(values.dtype)
    return (weights / weights.sum(-1, keepdim=True).clamp(min=1.0)) @ values


def _fourier(rects: torch.Tensor) -> torch.Tensor:
    """Encode centre and size of rectangles (..., 4) at octaves from 1/2 to 16 periods per side."""
    corner, end = rects[..., :2], rects[..., 2:]
    values = torch.cat([(corner + end) / 2.0, end - corner], -1)
    octaves = torch.pi * 2.0 ** torch.arange(RECT_FREQUENCIES, device=rects.device)
    phase = (values[..., None] * octaves).flatten(-2)
    return torch.cat([phase.sin(), phase.cos()], -1)
