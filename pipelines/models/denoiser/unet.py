"""A U-Net of residual blocks, with attention to the tokens of c and z where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn.functional import silu

from pipelines.models.denoiser.blocks import TransformerBlock

NORM_GROUPS = 8
"""Groups of the group norms; the number of channels must be a multiple."""

MLP_RATIO = 2.5
"""Width of the feed-forward networks relative to the channels."""

KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Grounds:
    """What attention at one resolution reads besides the features.

    Attributes:
        keys_values: For each of its layers, in the order in which they are called.
        bias: Added to the scores, (n, heads, places, length).
        offsets: (n, places, length, OFFSET_FEATURES), from `rect_offsets`.
    """

    keys_values: tuple[KeysValues, ...]
    bias: torch.Tensor
    offsets: torch.Tensor

    def repeat(self, times: int) -> Grounds:
        """Repeat all rows, in their order, `times` times."""
        pairs = tuple((k.repeat(times, 1, 1), v.repeat(times, 1, 1)) for k, v in self.keys_values)
        bias, offsets = (x.repeat(times, 1, 1, 1) for x in (self.bias, self.offsets))
        return Grounds(pairs, bias, offsets)


class Level(nn.Module):
    """Residual blocks at one resolution, on the way down or up, each followed by attention.

    Args:
        before: Channels that each block reads.
        width: Channels that each block returns.
        attention: Layers of attention after each block.
        heads: Attention heads.
        time_width: Width of the noise level's embedding.
    """

    def __init__(
        self, before: Sequence[int], width: int, attention: int, heads: int, time_width: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_residual_block(each, width, time_width) for each in before)
        self.attention = nn.ModuleList(
            nn.ModuleList(TransformerBlock(width, heads, MLP_RATIO) for _ in range(attention))
            for _ in before
        )
        self.modulation = nn.Linear(time_width, 6 * width) if attention else None

    def layers(self) -> list[TransformerBlock]:
        """Return the layers of attention, in the order in which they are called."""
        return [layer for stack in self.attention for layer in stack]

    def steps(
        self, time: torch.Tensor, grounds: Grounds | None, pairs: Iterator[KeysValues]
    ) -> Iterator[_Step]:
        """Yield one function of the features for each block with its attention."""
        modulation = None if self.modulation is None else self.modulation(silu(time))
        for block, stack in zip(self.blocks, self.attention, strict=True):
            yield _Step(block, stack, time, modulation, grounds, pairs)


@dataclass(frozen=True)
class _Step:
    block: nn.Module
    stack: nn.ModuleList
    time: torch.Tensor
    modulation: torch.Tensor | None
    grounds: Grounds | None
    pairs: Iterator[KeysValues]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(x, self.time)
        if self.grounds is None:
            return x
        rows, places = x.shape[2], x.flatten(2).transpose(1, 2)
        bias, offsets = self.grounds.bias, self.grounds.offsets
        for layer in self.stack:
            places = layer(places, next(self.pairs), bias, offsets, self.modulation, rows)
        return places.transpose(1, 2).unflatten(-1, (rows, -1))


class UNet(nn.Module):
    """Levels on the way down and up, with skip connections; each after the first halves the map.

    Args:
        channels: Of each level.
        blocks: Residual blocks of each level on the way down; one more on the way up.
        attention: Layers of attention after each block of a level.
        heads: Attention heads.
        time_width: Width of the noise level's embedding.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        attention: Sequence[int],
        heads: int,
        time_width: int,
    ) -> None:
        super().__init__()
        sizes = list(zip(channels, blocks, attention, strict=True))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        reads, skips = channels[0], []
        for width, count, layers in sizes:
            before = [reads, *[width] * (count - 1)]
            self.down.append(Level(before, width, layers, heads, time_width))
            skips.append([reads, *[width] * count])
            reads = width
        for (width, _, layers), kept in zip(reversed(sizes), reversed(skips), strict=True):
            before = [
                (reads if at == 0 else width) + skip for at, skip in enumerate(reversed(kept))
            ]
            self.up.append(Level(before, width, layers, heads, time_width))
            reads = width
        self.shrink = nn.ModuleList(
            Downsample2D(width, use_conv=True, name="op") for width in channels[:-1]
        )
        self.grow = nn.ModuleList(
            Upsample2D(width, use_conv=True) for width in reversed(channels[1:])
        )

    def layers(self, level: int) -> list[TransformerBlock]:
        """Return the layers of attention of a level, in the order in which they are called."""
        down, up = self.down[level], self.up[len(self.up) - 1 - level]
        return [*down.layers(), *up.layers()]

    def parts(self) -> list[nn.Module]:
        """Return the modules that hold most of the activations."""
        levels = [*self.down, *self.up]
        return [part for level in levels for part in (*level.blocks, *level.layers())]

    def descend(
        self, x: torch.Tensor, time: torch.Tensor, places: Sequence[Places]
    ) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        """Walk down; return the features of the last level, and the skips of each level.

        Args:
            x: (n, channels of the first level, height, width).
            time: Embedding of the noise level, (n, time_width).
            places: Of each level.
        """
        skips = []
        for number, (level, place) in enumerate(zip(self.down, places, strict=True)):
            if number:
                x = self.shrink[number - 1](x)
            kept = [x]
            for step in level.steps(time, *place):
                x = step(x)
                kept.append(x)
            skips.append(kept)
        return x, skips

    def ascend(
        self,
        x: torch.Tensor,
        skips: list[list[torch.Tensor]],
        time: torch.Tensor,
        places: Sequence[Places],
    ) -> torch.Tensor:
        """Walk up from what `descend` returned; return features as it took them."""
        backwards = zip(self.up, reversed(skips), reversed(places), strict=True)
        for number, (level, kept, place) in enumerate(backwards):
            if number:
                x = self.grow[number - 1](x)
            for step, skip in zip(level.steps(time, *place), reversed(kept), strict=True):
                x = step(torch.cat([x, skip], 1))
        return x


Places = tuple[Grounds | None, Iterator[KeysValues]]
"""What attention of a level reads, and its keys and values that are left."""


def places_of(grounds: Sequence[Grounds | None]) -> list[Places]:
    """Return the places of a pass through a U-Net, from what each level reads."""
    return [(each, iter(() if each is None else each.keys_values)) for each in grounds]


def _residual_block(before: int, width: int, time_width: int) -> ResnetBlock2D:
    block = ResnetBlock2D(
        in_channels=before,
        out_channels=width,
        temb_channels=time_width,
        groups=NORM_GROUPS,
        time_embedding_norm="scale_shift",
    )
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    return block
