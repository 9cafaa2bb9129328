"""The transformer of the denoiser: patch embedding and blocks, after Sana (arXiv 2410.10629)."""

from __future__ import annotations

from functools import lru_cache

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from diffusers.models.transformers.sana_transformer import GLUMBConv
from torch import nn

from pipelines.models.denoiser.attention import Grid, GroundedCrossAttention, SelfAttention


class OverlappingPatches(nn.Module):
    """Embeds overlapping patches of a feature map, with sinusoidal positions.

    Overlap lets both patches see an edge between them. States are normalised; otherwise those of
    the noisy image grow until the contribution of z is lost.

    Args:
        stride: Distance of neighbouring patches; each covers one more pixel on every side.
        channels: Channels of the feature map.
        width: Width of the embedding.
    """

    def __init__(self, stride: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, stride + 2, stride, padding=1)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)

    def forward(self, features: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Embed (n, channels, height, width) as patches (n, rows * columns, width).

        Args:
            features: The map; the stride divides its sides.
            positions: From `patch_positions`.
        """
        patches = self.norm(self.proj(features).flatten(2).transpose(1, 2))
        return (patches + positions).to(patches.dtype)


@lru_cache(64)
def patch_positions(width: int, grid: Grid, base: int, device: torch.device) -> torch.Tensor:
    """Compute sinusoidal positions, (1, rows * columns, width).

    They are relative to the image's sides, as z's rectangles are: a grid of any shape spans the
    range of the square one.

    Args:
        width: Width of the patches' states.
        grid: Rows and columns of patches.
        base: Patches along the side of the square grid.
        device: Where they are needed.
    """
    # What is cached serves training too, which tensors of inference cannot.
    with torch.inference_mode(False):
        positions = get_2d_sincos_pos_embed(
            width, grid, base_size=base, device=device, output_type="pt"
        )
        return positions.float().unsqueeze(0)


class TransformerBlock(nn.Module):
    """Self-attention, grounded cross-attention and a convolutional feed-forward network.

    The noise level modulates self-attention and feed-forward network (adaLN-single, PixArt-α,
    arXiv 2310.00426, section 2.3). Unlike Sana's, self-attention is softmax attention: there are
    few patches, so it costs no more, and it is sharper.

    Args:
        width: Width of the patches' states.
        heads: Attention heads.
        mlp_ratio: Width of the feed-forward network relative to `width`.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn1 = SelfAttention(width, heads)
        self.attn2 = GroundedCrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.ff = GLUMBConv(width, width, mlp_ratio, norm_type=None, residual_connection=False)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(
        self,
        patches: torch.Tensor,
        keys_values: tuple[torch.Tensor, torch.Tensor],
        bias: torch.Tensor,
        offsets: torch.Tensor,
        modulation: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        """Transform patches.

        Args:
            patches: (n, rows * columns, width).
            keys_values: From `GroundedCrossAttention.keys_and_values`.
            bias: Added to the scores of cross-attention, (n, heads, patches, length).
            offsets: From `rect_offsets`.
            modulation: Of the noise level, (n, 6 * width).
            rows: Rows of patches.

        Returns:
            As `patches`.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            self.scale_shift_table[None] + modulation.unflatten(-1, (6, -1))
        ).chunk(6, dim=1)
        normed = self.norm1(patches) * (1 + scale1) + shift1
        patches = patches + gate1 * self.attn1(normed.to(patches.dtype))
        patches = self.attn2(patches, *keys_values, bias, offsets) + patches
        normed = self.norm2(patches) * (1 + scale2) + shift2
        grid = normed.unflatten(1, (rows, -1)).permute(0, 3, 1, 2)
        return patches + gate2 * self.ff(grid).flatten(2, 3).permute(0, 2, 1)
