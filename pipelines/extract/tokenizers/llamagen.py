"""The encoder of LlamaGen's tokenizer (arXiv 2406.06525, section 2.1): VQ-16, VQ-8 and others.

It is the encoder of VQGAN (arXiv 2012.09841) with a codebook of low-dimensional vectors that are
compared by cosine. Implemented from the papers, with parameter names as in the public checkpoints.
The decoder is not implemented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention, silu

WIDTH = 128
"""Channels at full resolution; every level has a multiple of it."""

BLOCKS = 2
"""Residual blocks per level."""


@dataclass(frozen=True)
class LlamaGenConfig:
    """Sizes of a tokenizer, named as in the public code; the defaults are those of VQ-16.

    Attributes:
        codebook_size: Entries of the codebook.
        codebook_embed_dim: Dimension of an entry.
        codebook_l2_norm: Whether entries are compared by cosine.
        encoder_ch_mult: Multiples of `WIDTH`, one per level; every level after the first halves
            the grid.
        z_channels: Channels before the projection to the dimension of an entry.
    """

    codebook_size: int = 16384
    codebook_embed_dim: int = 8
    codebook_l2_norm: bool = True
    encoder_ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    z_channels: int = 256

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Read the sizes from a ``config.json``."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: config[name] for name in names if name in config})

    @property
    def stride(self) -> int:
        """Side in pixels of the square that one id covers."""
        return int(2 ** (len(self.encoder_ch_mult) - 1))


class LlamaGenTokenizer(nn.Module):
    """The encoder and its codebook.

    Args:
        config: Sizes.
    """

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.codebook_embed_dim, 1)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(config.codebook_size, config.codebook_embed_dim)

    def states(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the vectors whose nearest codebook entries are the ids.

        Args:
            images: (n, 3, height, width), in [-1, 1]; both sides are multiples of the stride.

        Returns:
            (n, codebook_embed_dim, height / stride, width / stride).
        """
        return self.quant_conv(self.encoder(images))


class _Encoder(nn.Module):
    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        widths = [WIDTH * multiple for multiple in config.encoder_ch_mult]
        before = [WIDTH, *widths[:-1]]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.conv_blocks = nn.ModuleList(
            _Level(narrow, wide, is_last=index == last)
            for index, (narrow, wide) in enumerate(zip(before, widths, strict=True))
        )
        wide = widths[-1]
        self.mid = nn.ModuleList([_Residual(wide, wide), _Attention(wide), _Residual(wide, wide)])
        self.norm_out = _norm(wide)
        self.conv_out = nn.Conv2d(wide, config.z_channels, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        states = self.conv_in(images)
        for block in (*self.conv_blocks, *self.mid):
            states = block(states)
        return self.conv_out(silu(self.norm_out(states)))


class _Level(nn.Module):
    """Residual blocks at one resolution, with attention in the last level, else a downsampling."""

    def __init__(self, narrow: int, wide: int, is_last: bool) -> None:
        super().__init__()
        inputs = [narrow] + [wide] * (BLOCKS - 1)
        self.res = nn.ModuleList(_Residual(width, wide) for width in inputs)
        self.attn = nn.ModuleList(_Attention(wide) for _ in range(BLOCKS * is_last))
        self.downsample = None if is_last else _Halving(wide)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for index, block in enumerate(self.res):
            states = block(states)
            if len(self.attn):
                states = self.attn[index](states)
        return states if self.downsample is None else self.downsample(states)


class _Residual(nn.Module):
    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(narrow), _norm(wide)
        self.conv1 = nn.Conv2d(narrow, wide, 3, padding=1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1)
        if narrow != wide:
            self.nin_shortcut = nn.Conv2d(narrow, wide, 1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(silu(self.norm1(states)))
        hidden = self.conv2(silu(self.norm2(hidden)))
        return hidden + (self.nin_shortcut(states) if hasattr(self, "nin_shortcut") else states)


class _Attention(nn.Module):
    """Single-head self-attention between all positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.norm(states)
        rows = (layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        seen = scaled_dot_product_attention(*rows).transpose(1, 2).reshape(states.shape)
        return states + self.proj_out(seen)


class _Halving(nn.Module):
    """A convolution with stride 2, padded only at the right and at the bottom, as in VQGAN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.conv(pad(states, (0, 1, 0, 1)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)
