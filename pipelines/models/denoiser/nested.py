"""The nested U-Net of Matryoshka diffusion models (arXiv 2310.15111), the paper's denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding, Timesteps
from torch import nn
from torch.nn.functional import avg_pool2d, silu

from pipelines.models.conditioning import Conditioning
from pipelines.models.denoiser.attention import local_bias, rect_offsets
from pipelines.models.denoiser.base import Denoiser
from pipelines.models.denoiser.unet import NORM_GROUPS, Grounds, UNet, places_of

WAVES = 256
"""Sines and cosines of a noise level."""


def scaled_level(level: torch.Tensor, ratio: int) -> torch.Tensor:
    """Return the noise level of images that were averaged over squares of `ratio` pixels.

    The mean of ratio² pixels has the noise of one, divided by `ratio`; scaled so that image and
    noise have shares 1 − σ' and σ' again, its odds σ' / (1 − σ') are those of σ over `ratio`.

    Args:
        level: Noise levels σ in [0, 1].
        ratio: Side of the squares; 1 changes nothing.
    """
    return level if ratio == 1 else level / (ratio - (ratio - 1.0) * level)


def scaled_noisy(noisy: torch.Tensor, level: torch.Tensor, ratio: int) -> torch.Tensor:
    """Return noisy images of a lower resolution, at their `scaled_level`; the noise is shared.

    Args:
        noisy: x_σ = (1 − σ) x + σ ε, (n, channels, height, width).
        level: σ of each, (n,).
        ratio: Divides both sides.
    """
    share = 1.0 - level + level / ratio
    return avg_pool2d(noisy, ratio) / share[:, None, None, None]


@dataclass(frozen=True)
class NestedConditioning:
    """The part of the network's work that is the same at every noise level.

    Attributes:
        grounds: For each level of the inner U-Net; None where it has no attention.
        inner: Whether images of the inner resolution are drawn.
    """

    grounds: tuple[Grounds | None, ...]
    inner: bool

    def repeat(self, times: int) -> NestedConditioning:
        """Repeat all rows, in their order, `times` times."""
        grounds = (None if each is None else each.repeat(times) for each in self.grounds)
        return NestedConditioning(tuple(grounds), self.inner)


class NestedUNet2DModel(Denoiser):
    """A U-Net at a low resolution inside another one that leads up to the full one.

    * The outer one has convolutions alone; its innermost features go through an adapter into the
      inner one, whose features come back through another. Both adapters are zero at first.
    * The inner one sees the same noisy image at its own resolution, where there is less noise, and
      predicts the clean image there. Both predictions are trained, so the inner one learns what
      stands where from all noise levels.
    * c and z are read in the inner one, by the attention of `TransformerBlock`: tokens with a
      rectangle attend locally.

    The low-resolution noisy image is the average of the other one, so it adds nothing to the state
    of sampling: any sampler draws the full resolution. Images of the inner resolution are drawn by
    the inner one alone.

    Args:
        sample_size: Side of a square image in pixels.
        outer_channels: Of each level of the outer U-Net; each after the first halves the map, and
            the last has the resolution of the inner one.
        outer_blocks: Residual blocks of each level.
        inner_channels: Likewise of the inner U-Net.
        inner_blocks: Likewise.
        inner_attention: Layers of attention after each block of a level.
        num_attention_heads: Heads; they divide the channels of levels with attention.
        context_dim: Width of the conditioning tokens.
        in_channels: Channels of the image.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        outer_channels: Sequence[int] = (32, 64),
        outer_blocks: Sequence[int] = (2, 1),
        inner_channels: Sequence[int] = (64, 128),
        inner_blocks: Sequence[int] = (2, 2),
        inner_attention: Sequence[int] = (0, 1),
        num_attention_heads: int = 4,
        context_dim: int = 128,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        first, meeting, base = outer_channels[0], outer_channels[-1], inner_channels[0]
        time, heads = 4 * base, num_attention_heads
        self.waves = Timesteps(WAVES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.outer_time, self.inner_time = (TimestepEmbedding(WAVES, time) for _ in range(2))
        self.outer_in = nn.Conv2d(in_channels, first, 3, padding=1)
        none = [0] * len(outer_channels)
        self.outer = UNet(outer_channels, outer_blocks, none, heads, time)
        self.outer_out = _Head(first, in_channels)
        self.inner_in = nn.Conv2d(in_channels, base, 3, padding=1)
        self.inner = UNet(inner_channels, inner_blocks, inner_attention, heads, time)
        self.inner_out = _Head(base, in_channels)
        self.enter, self.leave = _adapter(meeting, base), _adapter(base, meeting)
        self.tokens = nn.ModuleList(
            PixArtAlphaTextProjection(context_dim, width) if layers else nn.Identity()
            for width, layers in zip(inner_channels, inner_attention, strict=True)
        )
        bottom = inner_channels[-1]
        self.naming = nn.Sequential(nn.LayerNorm(bottom), nn.Linear(bottom, context_dim))

    @property
    def ratio(self) -> int:
        """Sides of the full resolution over those of the inner one."""
        return int(2 ** (len(self.config.outer_channels) - 1))

    @property
    def stride(self) -> int:
        """Pixels along a side of one place of the innermost map."""
        return int(self.ratio * 2 ** (len(self.config.inner_channels) - 1))

    def blocks(self) -> list[nn.Module]:
        """Return the modules that hold most of the activations."""
        return [*self.outer.parts(), *self.inner.parts()]

    def prepare(
        self, conditioning: Conditioning, shape: tuple[int, int] | None = None
    ) -> NestedConditioning:
        """Compute what no noise level changes.

        The shape has about the area of the full resolution or of the inner one.
        """
        side = self.config.sample_size
        height, width = shape or (side, side)
        inner = height * width * self.ratio < side**2
        if not inner:
            height, width = height // self.ratio, width // self.ratio
        grounds: list[Grounds | None] = []
        for level, project in enumerate(self.tokens):
            layers, grid = self.inner.layers(level), (height >> level, width >> level)
            if not layers:
                grounds.append(None)
                continue
            tokens = project(conditioning.tokens)
            pairs = tuple(layer.attn2.keys_and_values(tokens) for layer in layers)
            rects, heads = conditioning.rects, self.config.num_attention_heads
            bias = local_bias(rects, conditioning.mask, grid, heads)
            grounds.append(Grounds(pairs, bias, rect_offsets(rects, grid)))
        return NestedConditioning(tuple(grounds), inner)

    def _predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, prepared: NestedConditioning
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        level = timestep / 1000.0
        if prepared.inner:
            _, clean, states = self._inner(noisy, level, prepared, None)
            return [clean], _rows(states)
        time = self.outer_time(self.waves(timestep).to(noisy.dtype))
        nowhere = places_of([None] * len(self.config.outer_channels))
        x, skips = self.outer.descend(self.outer_in(noisy), time, nowhere)
        low, below = scaled_noisy(noisy, level, self.ratio), scaled_level(level, self.ratio)
        features, small, states = self._inner(low, below, prepared, self.enter(x))
        x = self.outer.ascend(x + self.leave(features), skips, time, nowhere)
        return [self.outer_out(x), small], _rows(states)

    def _inner(
        self,
        noisy: torch.Tensor,
        level: torch.Tensor,
        prepared: NestedConditioning,
        entering: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the features of the inner U-Net, its x̂, and its innermost features."""
        time = self.inner_time(self.waves(1000.0 * level).to(noisy.dtype))
        places = places_of(prepared.grounds)
        x = self.inner_in(noisy)
        states, skips = self.inner.descend(x if entering is None else x + entering, time, places)
        features = self.inner.ascend(states, skips, time, places)
        return features, self.inner_out(features), states


class _Head(nn.Module):
    """Turns features into an image, which is 0 at first."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        image: torch.Tensor = self.out(silu(self.norm(features)))
        return image


def _rows(features: torch.Tensor) -> torch.Tensor:
    """Return a map (n, width, height, width) as rows (n, places, width)."""
    return features.flatten(2).transpose(1, 2)


def _adapter(before: int, width: int) -> nn.Conv2d:
    """A convolution that is 0 at first, between the two U-Nets."""
    adapter = nn.Conv2d(before, width, 3, padding=1)
    nn.init.zeros_(adapter.weight)
    nn.init.zeros_(adapter.bias)
    return adapter
