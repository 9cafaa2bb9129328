"""Denoiser: the network of p(x|z,c), which predicts the clean image from a noisy one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PixArtAlphaTextProjection
from diffusers.models.normalization import AdaLayerNormSingle, RMSNorm
from torch import nn
from torch.nn.functional import layer_norm, silu

from pipelines.models.conditioning import Conditioning
from pipelines.models.denoiser.attention import local_bias, rect_offsets
from pipelines.models.denoiser.base import Denoiser
from pipelines.models.denoiser.blocks import (
    OverlappingPatches,
    TransformerBlock,
    patch_positions,
)
from pipelines.models.denoiser.convolutions import PatchBlock, PixelDecoder, PixelEncoder
from pipelines.models.denoiser.layout import LayoutMap

LAYOUT_CHANNELS = 16
"""Channels of the map on which z's items are drawn."""


@dataclass(frozen=True)
class PreparedConditioning:
    """The part of the network's work that is the same at every noise level.

    Attributes:
        keys_values: For each block, keys and values (n, length, width).
        bias: (n, heads, patches, length), added to the attention scores: 0 for a token whose
            rectangle contains the patch, negative elsewhere.
        offsets: (n, patches, length, OFFSET_FEATURES), from `rect_offsets`.
        layout: (n, pixel_channels, height / 2, width / 2), from `LayoutMap`.
        positions: (1, patches, width), from `patch_positions`.
    """

    keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    bias: torch.Tensor
    offsets: torch.Tensor
    layout: torch.Tensor
    positions: torch.Tensor

    def repeat(self, times: int) -> PreparedConditioning:
        """Repeat all rows, in their order, `times` times."""
        return PreparedConditioning(
            tuple(
                (key.repeat(times, 1, 1), value.repeat(times, 1, 1))
                for key, value in self.keys_values
            ),
            self.bias.repeat(times, 1, 1, 1),
            self.offsets.repeat(times, 1, 1, 1),
            self.layout.repeat(times, 1, 1, 1),
            self.positions,
        )


class KaleidoTransformer2DModel(Denoiser):
    """A transformer over patches between convolutions over pixels, for images in pixel space.

    * Residual convolutions at half the resolution surround the transformer, as in U-ViT ("simple
      diffusion", arXiv 2301.11093, section 3.3), and the last ones work at full resolution: an
      object spans two or three patches, and its outline consists of pixels.
    * Blocks after Sana (arXiv 2410.10629) alternate with convolutions on the grid of patches,
      which let outlines close across patches.
    * Tokens with a rectangle attend locally: a distance bias (as in ALiBi, arXiv 2108.12409)
      lowers attention outside the rectangle, more in some heads than in others. Patches also
      receive their offset within the rectangle (`GroundedCrossAttention`).
    * Items that z names are also drawn on a map at half the resolution (`LayoutMap`).
    * The output is the clean image x̂, from which the velocity follows ("Back to basics",
      arXiv 2511.13720: with large patches the clean image lies on a low-dimensional manifold
      that the network can reach, noise and velocity do not).

    The names and the order of submodules are those of the saved weights, of training checkpoints
    and of their optimizer states, so they must not change. Some are inherited from diffusers'
    Sana, of which this class was a subclass: ``caption_projection`` and ``caption_norm`` apply to
    all tokens, ``proj_out`` is the pixel decoder, ``naming`` the head of the word loss.

    Args:
        sample_size: Side of a square image in pixels; images of other shapes have about its area.
        patch_size: Side of a patch in pixels, even; it divides `sample_size`.
        num_layers: Transformer blocks.
        num_attention_heads: Heads of self- and cross-attention.
        attention_head_dim: Width of a head.
        context_dim: Width of the conditioning tokens.
        pixel_channels: Channels of the convolutions at half the resolution, a multiple of 8.
        pixel_blocks: Residual blocks before the transformer; there is one more after it.
        fine_channels: Channels of the convolutions at full resolution, a multiple of 8.
        mlp_ratio: Width of the feed-forward networks relative to the patches' states.
        in_channels: Channels of the image: 3, or those of the latent space of an autoencoder, whose
            values are the pixels here.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 32,
        patch_size: int = 4,
        num_layers: int = 2,
        num_attention_heads: int = 4,
        attention_head_dim: int = 32,
        context_dim: int = 128,
        pixel_channels: int = 48,
        pixel_blocks: int = 2,
        fine_channels: int = 32,
        mlp_ratio: float = 2.5,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        heads, width = num_attention_heads, num_attention_heads * attention_head_dim
        self.patch_embed = OverlappingPatches(patch_size // 2, pixel_channels, width)
        self.time_embed = AdaLayerNormSingle(width)
        self.caption_projection = PixArtAlphaTextProjection(context_dim, width)
        self.caption_norm = RMSNorm(width, eps=1e-5)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, heads, mlp_ratio) for _ in range(num_layers)
        )
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.proj_out = PixelDecoder(
            width, patch_size, pixel_channels, pixel_blocks + 1, fine_channels, in_channels
        )
        self.layout = LayoutMap(context_dim, LAYOUT_CHANNELS)
        self.layout_projection = nn.Conv2d(LAYOUT_CHANNELS, pixel_channels, 1, bias=False)
        self.pixel_encoder = PixelEncoder(in_channels, pixel_channels, width, pixel_blocks)
        self.patch_blocks = nn.ModuleList(PatchBlock(width) for _ in range(num_layers + 1))
        self.naming = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, context_dim))

    @property
    def stride(self) -> int:
        """Pixels along a side of a patch."""
        return int(self.config.patch_size)

    def blocks(self) -> list[nn.Module]:
        """Return the modules that hold most of the activations."""
        convolutions = [*self.pixel_encoder.blocks, *self.proj_out.blocks]
        convolutions += [self.proj_out.fine, *self.patch_blocks]
        return [*self.transformer_blocks, *convolutions]

    def prepare(
        self, conditioning: Conditioning, shape: tuple[int, int] | None = None
    ) -> PreparedConditioning:
        """Compute what no noise level changes; the patches divide the shape."""
        rects, patch, side = conditioning.rects, self.config.patch_size, self.config.sample_size
        height, width = shape or (side, side)
        grid = height // patch, width // patch
        tokens = self.caption_norm(self.caption_projection(conditioning.tokens))
        layout = self.layout(
            conditioning.tokens, rects, conditioning.names, (height // 2, width // 2)
        )
        states = self.config.num_attention_heads * self.config.attention_head_dim
        return PreparedConditioning(
            tuple(block.attn2.keys_and_values(tokens) for block in self.transformer_blocks),
            local_bias(rects, conditioning.mask, grid, self.config.num_attention_heads),
            rect_offsets(rects, grid),
            self.layout_projection(layout),
            patch_positions(states, grid, side // patch, rects.device),
        )

    def _predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, prepared: PreparedConditioning
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        rows = noisy.shape[2] // self.config.patch_size
        modulation, level = self.time_embed(
            timestep, batch_size=len(timestep), hidden_dtype=noisy.dtype
        )
        features = self.pixel_encoder(noisy, prepared.layout, level)
        patches = self.patch_blocks[0](
            self.patch_embed(silu(features), prepared.positions), level, rows
        )
        for block, keys_values, patch_block in zip(
            self.transformer_blocks, prepared.keys_values, self.patch_blocks[1:], strict=True
        ):
            states = block(patches, keys_values, prepared.bias, prepared.offsets, modulation, rows)
            patches = patch_block(states, level, rows)
        shift, scale = (self.scale_shift_table[None] + level[:, None]).chunk(2, dim=1)
        patches = layer_norm(patches, patches.shape[-1:], eps=1e-6) * (1 + scale) + shift
        return [self.proj_out(patches, features, noisy, level, rows)], states
