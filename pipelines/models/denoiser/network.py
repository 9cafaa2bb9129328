"""Denoiser: the network of p(x|z,c), a diffusers Sana transformer that predicts the clean image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import SanaTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PatchEmbed
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from torch import nn
from torch.nn.functional import silu

from pipelines.models.denoiser.attention import PlacedAttnProcessor, distance, offsets
from pipelines.models.denoiser.convolutions import PatchBlock, PixelDecoder, PixelEncoder
from pipelines.models.denoiser.layout import LayoutMap

STEEPEST = 32.0
"""How much the score of a token falls over the width of the image, in the most local head."""

LAYOUT_CHANNELS = 16
"""Of the map on which z's items are drawn."""


@dataclass(frozen=True)
class PreparedContext:
    """A context whose keys and values are computed: the same at every step of the sampler.

    Attributes:
        keys_values: For each block, keys and values (n, length, width).
        bias: (n, heads, patches, length), added to the attention scores: 0 where a token counts
            and speaks of that patch.
        offsets: (n, patches, length, OFFSET_FEATURES): where each patch lies in the rectangle
            that a token speaks of.
        layout: (n, pixel_channels, height / 2, width / 2), from `LayoutMap`.
    """

    keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    bias: torch.Tensor
    offsets: torch.Tensor
    layout: torch.Tensor

    def repeat(self, times: int) -> PreparedContext:
        """Repeat all rows, in their order, `times` times."""
        return PreparedContext(
            tuple(
                (key.repeat(times, 1, 1), value.repeat(times, 1, 1))
                for key, value in self.keys_values
            ),
            *(part.repeat(times, 1, 1, 1) for part in (self.bias, self.offsets, self.layout)),
        )


class KaleidoTransformer2DModel(SanaTransformer2DModel):
    """Sana's transformer (arXiv 2410.10629) for small pictures in pixel space.

    It differs from its parent in eight ways:

    * residual convolutions at half the resolution stand before and after the transformer, as in
      U-ViT ("simple diffusion", arXiv 2301.11093, section 3.3), and at last some at full
      resolution: an object spans two or three patches, and its outline is made of pixels;
    * others stand between the blocks, on the grid of patches: an outline must close across them;
    * what z names is also drawn for them, on a map (`LayoutMap`);
    * patches overlap, and are normalised before the first block;
    * softmax instead of linear self-attention, since few patches make it as cheap and sharper;
    * a token that speaks of a rectangle is heard best by the patches that lie in it: as in ALiBi
      (arXiv 2108.12409) the distance lowers the score, more in some heads than in others;
    * such a patch also hears where in the rectangle it lies (`PlacedAttnProcessor`);
    * the output is the clean image x̂, from which the velocity follows ("Back to basics",
      arXiv 2511.13720: with large patches the clean image lies on a low-dimensional manifold
      that the network can reach, noise and velocity do not).

    Args:
        sample_size: Side of the image in pixels.
        patch_size: Side of a patch in pixels, even; it divides `sample_size`.
        num_layers: Transformer blocks.
        num_attention_heads: Heads of self- and cross-attention.
        attention_head_dim: Width of a head.
        context_dim: Width of the context tokens.
        pixel_channels: Channels of the convolutions at half the resolution, a multiple of 8.
        pixel_blocks: Residual blocks before the transformer; there is one more after it.
        fine_channels: Channels of the convolutions at full resolution, a multiple of 8.
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
    ) -> None:
        width = num_attention_heads * attention_head_dim
        super().__init__(
            in_channels=3,
            out_channels=3,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            num_layers=num_layers,
            num_cross_attention_heads=num_attention_heads,
            cross_attention_head_dim=attention_head_dim,
            cross_attention_dim=width,
            caption_channels=context_dim,
            mlp_ratio=mlp_ratio,
            sample_size=sample_size,
            patch_size=patch_size,
            interpolation_scale=1,
        )
        # The parent has registered its own arguments too; saved, they would only cause warnings.
        del self._internal_dict
        self.register_to_config(
            sample_size=sample_size,
            patch_size=patch_size,
            num_layers=num_layers,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            context_dim=context_dim,
            pixel_channels=pixel_channels,
            pixel_blocks=pixel_blocks,
            fine_channels=fine_channels,
            mlp_ratio=mlp_ratio,
        )
        for block in self.transformer_blocks:
            block.attn1.set_processor(SanaAttnProcessor2_0())
            block.attn2.set_processor(PlacedAttnProcessor(num_attention_heads, width))
        self.layout = LayoutMap(context_dim, LAYOUT_CHANNELS)
        self.layout_projection = nn.Conv2d(LAYOUT_CHANNELS, pixel_channels, 1, bias=False)
        self.pixel_encoder = PixelEncoder(pixel_channels, width, pixel_blocks)
        half, stride = sample_size // 2, patch_size // 2
        # Normalised: else the noisy pixels' states grow until what z says is lost among them.
        self.patch_embed = PatchEmbed(half, half, stride, pixel_channels, width, layer_norm=True)
        # Patches overlap: an edge between two of them is seen by both.
        self.patch_embed.proj = nn.Conv2d(pixel_channels, width, stride + 2, stride, padding=1)
        self.patch_blocks = nn.ModuleList(PatchBlock(width) for _ in range(num_layers + 1))
        self.naming = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, context_dim))
        self.proj_out = PixelDecoder(
            width, patch_size, pixel_channels, pixel_blocks + 1, fine_channels
        )

    def prepare(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        places: torch.Tensor,
        names: torch.Tensor,
    ) -> PreparedContext:
        """Compute what does not depend on the noise level.

        Args:
            tokens: Context tokens, (n, length, context_dim).
            mask: (n, length), 1 where a token counts.
            places: (n, length, 4), the rectangle (x1, y1, x2, y2) that a token speaks of, in
                units of the image's side.
            names: bool (n, length), True where a token names what its rectangle holds.
        """
        context = self.caption_norm(self.caption_projection(tokens))
        keys_values = tuple(
            (block.attn2.to_k(context), block.attn2.to_v(context))
            for block in self.transformer_blocks
        )
        # -10000 underflows to an exact zero in softmax, so padding cannot leak.
        padding = (1 - mask.to(places.dtype))[:, None, None] * -10000.0
        heads = self.config.num_attention_heads
        slopes = torch.linspace(0.0, STEEPEST, heads, device=places.device)
        side = self.config.sample_size // self.config.patch_size
        bias = padding - slopes[:, None, None] * distance(places, side)[:, None]
        layout = self.layout(tokens, places, names, self.config.sample_size // 2)
        return PreparedContext(
            keys_values, bias, offsets(places, side), self.layout_projection(layout)
        )

    def forward(
        self, hidden_states: torch.Tensor, timestep: torch.Tensor, context: PreparedContext
    ) -> torch.Tensor:
        """Predict the clean image.

        Args:
            hidden_states: Noisy images x_t, (n, 3, side, side).
            timestep: Noise level t of each image, (n,), from 0 (clean) to 1000 (noise).
            context: From `prepare`, n rows.

        Returns:
            The predicted clean images x̂, (n, 3, side, side).
        """
        return self._draw(hidden_states, timestep, context)[0]

    def draw_and_name(
        self, noisy: torch.Tensor, timestep: torch.Tensor, context: PreparedContext
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the clean image, and what stands at each patch; only training asks for that.

        Args:
            noisy: As for `forward`, like `timestep` and `context`.
            timestep: Noise levels.
            context: From `prepare`.

        Returns:
            x̂, and what each patch takes itself for, (n, patches, context_dim): see
            `pipelines.models.word_loss`.
        """
        clean, heard = self._draw(noisy, timestep, context)
        return clean, self.naming(heard)

    def _draw(
        self, noisy: torch.Tensor, timestep: torch.Tensor, context: PreparedContext
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x̂, and the patches' states after the last block, (n, patches, width)."""
        patch = self.config.patch_size
        rows, columns = noisy.shape[2] // patch, noisy.shape[3] // patch
        modulation, embedded = self.time_embed(
            timestep, batch_size=len(timestep), hidden_dtype=noisy.dtype
        )
        features = self.pixel_encoder(noisy, context.layout, embedded)
        hidden_states = self.patch_embed(silu(features))
        hidden_states = self.patch_blocks[0](hidden_states, embedded, rows)
        for block, pair, patch_block in zip(
            self.transformer_blocks, context.keys_values, self.patch_blocks[1:], strict=True
        ):
            hidden_states = heard = block(
                hidden_states,
                None,
                (*pair, context.offsets),
                context.bias,
                modulation,
                rows,
                columns,
            )
            hidden_states = patch_block(hidden_states, embedded, rows)
        hidden_states = self.norm_out(hidden_states, embedded, self.scale_shift_table)
        return self.proj_out(hidden_states, features, noisy, embedded, rows), heard
