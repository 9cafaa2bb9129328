"""The convolutional parts of the denoiser, around and between its transformer blocks."""

from __future__ import annotations

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

NORM_GROUPS = 8
"""Groups of the group norms; the number of channels must be a multiple."""


class PixelEncoder(nn.Module):
    """Encodes the noisy image and the layout map at half the resolution.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the features.
        time_width: Width of the noise level's embedding.
        blocks: Number of residual blocks.
    """

    def __init__(self, in_channels: int, channels: int, time_width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(4 * in_channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_residual_block(channels, time_width) for _ in range(blocks))

    def forward(
        self, noisy: torch.Tensor, layout: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """Compute features.

        Args:
            noisy: (n, in_channels, height, width).
            layout: (n, channels, height / 2, width / 2).
            time: Embedding of the noise level, (n, time_width).

        Returns:
            (n, channels, height / 2, width / 2).
        """
        features = self.first(pixel_unshuffle(noisy, 2)) + layout
        for block in self.blocks:
            features = block(features, time)
        return features


class PatchBlock(nn.Module):
    """A residual block of convolutions over the grid of patches.

    Args:
        width: Width of the patches' states and of the noise level's embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = _residual_block(width, width)

    def forward(self, patches: torch.Tensor, time: torch.Tensor, rows: int) -> torch.Tensor:
        """Mix neighbouring patches.

        Args:
            patches: (n, rows * columns, width).
            time: Embedding of the noise level, (n, width).
            rows: Rows of patches.

        Returns:
            As `patches`.
        """
        grid = patches.transpose(1, 2).unflatten(-1, (rows, -1))
        return self.block(grid, time).flatten(2).transpose(1, 2)


class PixelDecoder(nn.Module):
    """Decodes patches and the features of `PixelEncoder` into pixels.

    The last block works at full resolution and reads the noisy image again, so that edges need
    not be reconstructed from half the resolution.

    Args:
        width: Width of the patches' states and of the noise level's embedding.
        patch_size: Side of a patch in pixels, even.
        channels: Channels at half the resolution.
        blocks: Residual blocks at half the resolution.
        fine_channels: Channels at full resolution.
        out_channels: Channels of the image.
    """

    def __init__(
        self,
        width: int,
        patch_size: int,
        channels: int,
        blocks: int,
        fine_channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.spread = nn.Linear(width, channels * (patch_size // 2) ** 2)
        self.upscale = nn.PixelShuffle(patch_size // 2)
        self.blocks = nn.ModuleList(_residual_block(channels, width) for _ in range(blocks))
        self.read = nn.Conv2d(out_channels, fine_channels, 3, padding=1)
        self.rise = nn.Conv2d(channels, 4 * fine_channels, 1)
        self.fine = _residual_block(fine_channels, width)
        self.norm = nn.GroupNorm(NORM_GROUPS, fine_channels)
        self.out = nn.Conv2d(fine_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        patches: torch.Tensor,
        features: torch.Tensor,
        noisy: torch.Tensor,
        time: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        """Decode the image.

        Args:
            patches: (n, rows * columns, width).
            features: From `PixelEncoder`, (n, channels, height / 2, width / 2).
            noisy: (n, out_channels, height, width).
            time: Embedding of the noise level, (n, width).
            rows: Rows of patches.

        Returns:
            (n, out_channels, height, width).
        """
        grid = self.spread(patches).transpose(1, 2).unflatten(-1, (rows, -1))
        x = features + self.upscale(grid)
        for block in self.blocks:
            x = block(x, time)
        x = self.fine(self.read(noisy) + pixel_shuffle(self.rise(silu(x)), 2), time)
        return self.out(silu(self.norm(x)))


def _residual_block(channels: int, time_width: int) -> ResnetBlock2D:
    """A block that is the identity at first ("Diffusion models beat GANs", arXiv 2105.05233)."""
    block = ResnetBlock2D(
        in_channels=channels,
        temb_channels=time_width,
        groups=NORM_GROUPS,
        time_embedding_norm="scale_shift",
    )
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    return block
