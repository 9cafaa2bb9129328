"""Denoiser: the network of p(x|z,c), a diffusers Sana transformer that predicts the clean image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import SanaTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

STEEPEST = 32.0
"""How much the score of a token falls over the width of the image, in the most local head."""


@dataclass(frozen=True)
class PreparedContext:
    """A context whose keys and values are computed: the same at every step of the sampler.

    Attributes:
        keys_values: For each block, keys and values (n, length, width).
        bias: (n, heads, patches, length), added to the attention scores: 0 where a token counts
            and speaks of that patch.
        pooled: (n, context_dim).
    """

    keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    bias: torch.Tensor
    pooled: torch.Tensor


class KeyValueAttnProcessor:
    """Softmax cross-attention to keys and values that are given, not computed here."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Attend; the arguments are those of diffusers' processors."""
        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in encoder_hidden_states
        )
        attended = scaled_dot_product_attention(query, key, value, attention_mask)
        return attn.to_out[0](attended.transpose(1, 2).flatten(2))


class KaleidoTransformer2DModel(SanaTransformer2DModel):
    """Sana's transformer (arXiv 2410.10629) for small pictures in pixel space.

    It differs from its parent in five ways:

    * softmax instead of linear self-attention, since few patches make it as cheap and sharper;
    * the pooled context joins the time embedding (caption and z are pooled apart before);
    * a token that speaks of a rectangle is heard best by the patches that lie in it: as in ALiBi
      (arXiv 2108.12409) the distance lowers the score, more in some heads than in others;
    * the output is the clean image x̂, from which the velocity follows ("Back to basics",
      arXiv 2511.13720: with large patches the clean image lies on a low-dimensional manifold
      that the network can reach, noise and velocity do not);
    * a small convolution over the assembled picture removes the seams between patches.

    Args:
        sample_size: Side of the image in pixels.
        patch_size: Side of a patch in pixels; it divides `sample_size`.
        num_layers: Transformer blocks.
        num_attention_heads: Heads of self- and cross-attention.
        attention_head_dim: Width of a head.
        context_dim: Width of the context tokens.
        seam_channels: Channels of the convolution over the assembled picture.
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
        seam_channels: int = 16,
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
            seam_channels=seam_channels,
            mlp_ratio=mlp_ratio,
        )
        for block in self.transformer_blocks:
            block.attn1.set_processor(SanaAttnProcessor2_0())
            block.attn2.set_processor(KeyValueAttnProcessor())
        self.pooled_projection = nn.Linear(context_dim, width)
        # Without it a model of p(x|c) blows up: the pooled caption alone says how the picture's
        # uncertain parts are distributed, and its projection, which scales every block, runs away.
        self.modulation_norm = nn.LayerNorm(width)
        self.seam = nn.Sequential(
            nn.Conv2d(6, seam_channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(seam_channels, 3, 3, padding=1),
        )
        nn.init.zeros_(self.seam[-1].weight)
        nn.init.zeros_(self.seam[-1].bias)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def prepare(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        pooled: torch.Tensor,
        places: torch.Tensor,
    ) -> PreparedContext:
        """Compute what does not depend on the noise level.

        Args:
            tokens: Context tokens, (n, length, context_dim).
            mask: (n, length), 1 where a token counts.
            pooled: Pooled context, (n, context_dim).
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
        distance = _distance(places, self.config.sample_size // self.config.patch_size)
        bias = padding - slopes[:, None, None] * distance[:, None]
        return PreparedContext(keys_values, bias, pooled)

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
        count, _, height, width = noisy.shape
        patch = self.config.patch_size
        rows, columns = height // patch, width // patch
        hidden_states = self.patch_embed(noisy)
        modulation, embedded = self._embed_time(timestep, context.pooled)
        for block, pair in zip(self.transformer_blocks, context.keys_values, strict=True):
            hidden_states = block(
                hidden_states, None, pair, context.bias, modulation, rows, columns
            )
        hidden_states = self.norm_out(hidden_states, embedded, self.scale_shift_table)
        patches = self.proj_out(hidden_states).view(count, rows, columns, patch, patch, 3)
        image = patches.permute(0, 5, 1, 3, 2, 4).reshape(count, 3, height, width)
        return image + self.seam(torch.cat([image, noisy], dim=1))

    def _embed_time(
        self, timestep: torch.Tensor, pooled: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = self.time_embed
        embedded = embedding.emb(
            timestep,
            resolution=None,
            aspect_ratio=None,
            batch_size=len(timestep),
            hidden_dtype=pooled.dtype,
        )
        embedded = self.modulation_norm(embedded + self.pooled_projection(pooled))
        return embedding.linear(embedding.silu(embedded)), embedded


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
