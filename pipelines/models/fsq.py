"""Local tokens: finite scalar quantization of patches, by a network that sees no whole picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle, silu

MARGIN = 1e-3
"""Widens the range of a value, so that its outermost levels can be reached."""


class FsqModel(ModelMixin, ConfigMixin):
    """An autoencoder of patches whose vectors are rounded to a grid (FSQ, arXiv 2309.15505).

    Each value of a vector is squashed to a few levels and rounded, so there is no codebook to
    learn, and none that collapses. Norms are over the channels of one place, and borders repeat
    what is at them: an id depends on what lies within `reach` pixels of its square alone, and flat
    paper has one id.

    Args:
        in_channels: Values of a patch.
        channels: Channels of each level; every level after the first halves the grid.
        layers: Residual blocks per level; the decoder has one more.
        levels: Levels of each value of a vector; their product is the number of ids.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 48,
        channels: Sequence[int] = (32, 64),
        layers: int = 1,
        levels: Sequence[int] = (8, 5, 5, 5),
    ) -> None:
        super().__init__()
        widths = list(channels)
        self.encoder = nn.ModuleList(
            [_local(in_channels, widths[0]), *(_Block(widths[0]) for _ in range(layers))]
        )
        for before, width in zip(widths[:-1], widths[1:], strict=True):
            self.encoder.append(_Halve(before, width))
            self.encoder.extend(_Block(width) for _ in range(layers))
        self.to_code = nn.Conv2d(widths[-1], len(levels), 1)
        self.decoder = nn.ModuleList(
            [_local(len(levels), widths[-1]), *(_Block(widths[-1]) for _ in range(layers + 1))]
        )
        for before, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.decoder.append(_Double(before, width))
            self.decoder.extend(_Block(width) for _ in range(layers + 1))
        self.to_patch = _local(widths[0], in_channels)

    @property
    def reach(self) -> int:
        """Patches beyond its own square on which an id depends, on each side."""
        fine = 1 + self.config.layers
        return int(fine + sum(2**at * self.config.layers for at in range(1, self._depth)))

    @property
    def _levels(self) -> torch.Tensor:
        return torch.tensor(self.config.levels, device=self.to_code.weight.device)[:, None, None]

    @property
    def _places(self) -> torch.Tensor:
        return self._levels.cumprod(0) // self._levels

    @property
    def _depth(self) -> int:
        return len(self.config.channels)

    @property
    def _halves(self) -> torch.Tensor:
        return self._levels // 2

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        """Encode patches, without rounding.

        Args:
            patches: (n, in_channels, rows, columns).

        Returns:
            (n, values, rows / stride, columns / stride), in [-1, 1] up to a margin.
        """
        x = patches
        for part in self.encoder:
            x = part(x)
        half = (self._levels - 1) * (1 + MARGIN) / 2
        offset = torch.where(self._levels % 2 == 0, 0.5, 0.0)
        # An even number of levels lies asymmetrically around 0; the shift keeps 0 at 0.
        bounded = torch.tanh(self.to_code(_normed(x)) + torch.atanh(offset / half)) * half - offset
        return bounded / self._halves

    def quantize(self, states: torch.Tensor) -> torch.Tensor:
        """Round what `encode` returns to ids, int64 (n, rows, columns)."""
        digits = (states * self._halves).round() + self._halves
        return (digits.long() * self._places).sum(1)

    def entries(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of ids (n, rows, columns), in the layout of `encode`."""
        digits = ids[:, None] // self._places % self._levels
        return (digits - self._halves) / self._halves

    def decode(self, entries: torch.Tensor) -> torch.Tensor:
        """Decode vectors into patches, in the layout of `encode`."""
        x = entries
        for part in self.decoder:
            x = part(x)
        return self.to_patch(_normed(x))

    @property
    def size(self) -> int:
        """Number of ids."""
        return math.prod(self.config.levels)


class _Block(nn.Module):
    """A residual block that looks one place far; it is the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look, self.mix = _local(width, 2 * width), nn.Conv2d(2 * width, width, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mix(silu(self.look(_normed(x))))


class _Halve(nn.Module):
    """Join four places to one."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(4 * before, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(pixel_unshuffle(x, 2))


class _Double(nn.Module):
    """Spread one place over four."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(before, 4 * width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pixel_shuffle(self.spread(x), 2)


def _local(before: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, padding=1, padding_mode="replicate")


def _normed(x: torch.Tensor) -> torch.Tensor:
    """Normalise the channels of each place."""
    return layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
