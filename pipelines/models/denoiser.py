"""Denoiser: the network of p(x|z,c), a diffusers Sana transformer that predicts the clean image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import SanaTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import PatchEmbed
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from torch import nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle, silu

STEEPEST = 32.0
"""How much the score of a token falls over the width of the image, in the most local head."""

OFFSET_OCTAVES = 3
"""Octaves of the Fourier features of a patch's place in a rectangle."""

OFFSET_FEATURES = 4 * OFFSET_OCTAVES + 2
"""Sine and cosine of both coordinates, and the patch's size beside the rectangle's."""


@dataclass(frozen=True)
class PreparedContext:
    """A context whose keys and values are computed: the same at every step of the sampler.

    Attributes:
        keys_values: For each block, keys and values (n, length, width).
        bias: (n, heads, patches, length), added to the attention scores: 0 where a token counts
            and speaks of that patch.
        offsets: (n, patches, length, OFFSET_FEATURES): where each patch lies in the rectangle
            that a token speaks of.
    """

    keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    bias: torch.Tensor
    offsets: torch.Tensor


class PlacedAttnProcessor(nn.Module):
    """Cross-attention in which a patch hears what a token says and where it lies in its place.

    Keys and values are given, not computed here. The second sum over the same weights is that of
    relative positions among the values (Shaw et al., arXiv 1803.02155, eq. 3), in two dimensions
    and relative to the token's rectangle: "star" and "at its upper left" together are a corner,
    while from the star's and the patch's own coordinates the network would have to learn to
    subtract and divide first.

    The query is normalised, which Sana's is not: states that blocks only ever add to grow, and
    the scores with them, until training blows up.

    Args:
        heads: Of the attention.
        width: Of what comes out.
    """

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.offset_projection = nn.Linear(heads * OFFSET_FEATURES, width)

    def forward(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Attend; the arguments are those of diffusers' processors."""
        *pair, offsets = encoder_hidden_states
        query = attn.to_q(layer_norm(hidden_states, hidden_states.shape[-1:]))
        query = query.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in pair)
        scores = query @ key.transpose(-1, -2) * attn.scale + attention_mask
        weights = scores.softmax(-1)
        heard = (weights @ value).transpose(1, 2).flatten(2)
        lies = (weights.transpose(1, 2) @ offsets).flatten(2)
        return attn.to_out[0](heard) + self.offset_projection(lies)


class PixelStem(nn.Module):
    """Reads the noisy image at half its resolution, for the patches and for `PixelHead`.

    Args:
        channels: Of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Turn (n, 3, height, width) into (n, channels, height / 2, width / 2)."""
        features = self.first(pixel_unshuffle(noisy, 2))
        return features + self.second(silu(features))


class PixelHead(nn.Module):
    """Turns patches into pixels with convolutions that see the noisy image and no seams.

    Args:
        width: Of the patches' states.
        patch_size: Side of a patch in pixels, even.
        channels: At half the picture's resolution, where the convolutions work.
    """

    def __init__(self, width: int, patch_size: int, channels: int) -> None:
        super().__init__()
        self.spread = nn.Linear(width, channels * (patch_size // 2) ** 2)
        self.upscale = nn.PixelShuffle(patch_size // 2)
        self.middle = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.out = nn.Conv2d(channels, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, patches: torch.Tensor, features: torch.Tensor, rows: int) -> torch.Tensor:
        """Draw the image.

        Args:
            patches: (n, rows * columns, width).
            features: From `PixelStem`, (n, channels, height / 2, width / 2).
            rows: Of patches.

        Returns:
            (n, 3, height, width).
        """
        grid = self.spread(patches).transpose(1, 2).unflatten(-1, (rows, -1))
        x = self.upscale(grid) + features
        for layer in self.middle:
            x = x + layer(silu(x))
        return pixel_shuffle(self.out(silu(x)), 2)


class KaleidoTransformer2DModel(SanaTransformer2DModel):
    """Sana's transformer (arXiv 2410.10629) for small pictures in pixel space.

    It differs from its parent in six ways:

    * patches are made from convolved pixels and overlap (`PixelStem`);
    * softmax instead of linear self-attention, since few patches make it as cheap and sharper;
    * a token that speaks of a rectangle is heard best by the patches that lie in it: as in ALiBi
      (arXiv 2108.12409) the distance lowers the score, more in some heads than in others;
    * such a patch also hears where in the rectangle it lies (`PlacedAttnProcessor`);
    * the output is the clean image x̂, from which the velocity follows ("Back to basics",
      arXiv 2511.13720: with large patches the clean image lies on a low-dimensional manifold
      that the network can reach, noise and velocity do not);
    * a few convolutions at half the resolution turn patches into pixels (`PixelHead`).

    Args:
        sample_size: Side of the image in pixels.
        patch_size: Side of a patch in pixels, even; it divides `sample_size`.
        num_layers: Transformer blocks.
        num_attention_heads: Heads of self- and cross-attention.
        attention_head_dim: Width of a head.
        context_dim: Width of the context tokens.
        pixel_channels: Channels of the convolutions that read and draw the pixels.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        patch_size: int = 8,
        num_layers: int = 6,
        num_attention_heads: int = 5,
        attention_head_dim: int = 32,
        context_dim: int = 128,
        pixel_channels: int = 32,
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
            mlp_ratio=mlp_ratio,
        )
        for block in self.transformer_blocks:
            block.attn1.set_processor(SanaAttnProcessor2_0())
            block.attn2.set_processor(PlacedAttnProcessor(num_attention_heads, width))
        self.pixel_stem = PixelStem(pixel_channels)
        half, stride = sample_size // 2, patch_size // 2
        # Normalised: else the noisy pixels' states grow until what z says is lost among them.
        self.patch_embed = PatchEmbed(half, half, stride, pixel_channels, width, layer_norm=True)
        # Patches overlap: an edge between two of them is seen by both.
        self.patch_embed.proj = nn.Conv2d(pixel_channels, width, stride + 2, stride, padding=1)
        self.proj_out = PixelHead(width, patch_size, pixel_channels)

    def prepare(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        places: torch.Tensor,
    ) -> PreparedContext:
        """Compute what does not depend on the noise level.

        Args:
            tokens: Context tokens, (n, length, context_dim).
            mask: (n, length), 1 where a token counts.
            places: (n, length, 4), the rectangle (x1, y1, x2, y2) that a token speaks of, in
                units of the image's side.
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
        bias = padding - slopes[:, None, None] * _distance(places, side)[:, None]
        return PreparedContext(keys_values, bias, _offsets(places, side))

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
        noisy = hidden_states
        patch = self.config.patch_size
        rows, columns = noisy.shape[2] // patch, noisy.shape[3] // patch
        features = self.pixel_stem(noisy)
        hidden_states = self.patch_embed(silu(features))
        modulation, embedded = self.time_embed(
            timestep, batch_size=len(timestep), hidden_dtype=noisy.dtype
        )
        for block, pair in zip(self.transformer_blocks, context.keys_values, strict=True):
            hidden_states = block(
                hidden_states,
                None,
                (*pair, context.offsets),
                context.bias,
                modulation,
                rows,
                columns,
            )
        hidden_states = self.norm_out(hidden_states, embedded, self.scale_shift_table)
        return self.proj_out(hidden_states, features, rows)


def _distance(places: torch.Tensor, side: int) -> torch.Tensor:
    """Distance of the patches' centres from rectangles, in units of the image's side.

    Args:
        places: (n, length, 4).
        side: Patches along the image's side.

    Returns:
        (n, side * side, length), 0 within the rectangle.
    """
    centres = (torch.arange(side, device=places.device) + 0.5) / side
    low, high = places[:, None, :, :2], places[:, None, :, 2:]
    beyond = torch.maximum(low - centres[:, None, None], centres[:, None, None] - high).clamp(0.0)
    x, y = beyond[:, None, :, :, 0], beyond[:, :, None, :, 1]
    return torch.hypot(x, y).flatten(1, 2)


def _offsets(places: torch.Tensor, side: int) -> torch.Tensor:
    """Features of where the patches lie in rectangles.

    A patch's centre counts from -1 to 1 within the rectangle and is limited to twice that range:
    farther out it only matters that a patch lies outside.

    Args:
        places: (n, length, 4).
        side: Patches along the image's side.

    Returns:
        (n, side * side, length, OFFSET_FEATURES).
    """
    device = places.device
    centres = (torch.arange(side, device=device) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    patches = torch.stack([x, y], -1).view(1, -1, 1, 2)
    low, high = places[:, None, :, :2], places[:, None, :, 2:]
    size = (high - low).clamp(min=1.0 / (8 * side))
    inside = ((2.0 * patches - low - high) / size).clamp(-2.0, 2.0)
    octaves = 0.25 * torch.pi * 2.0 ** torch.arange(OFFSET_OCTAVES, device=device)
    phase = (inside[..., None] * octaves).flatten(-2)
    scale = (1.0 / (side * size)).clamp(max=2.0).expand(-1, side * side, -1, -1)
    return torch.cat([phase.sin(), phase.cos(), scale], -1)
