"""Attention of the denoiser: self-attention, and cross-attention that knows image regions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

STEEPEST = 32.0
"""Decrease of a token's score over the width of the image, in the most local head."""

PADDING_SCORE = -10000.0
"""Bias of padding; it underflows to an exact zero in softmax, so padding cannot leak."""

OFFSET_OCTAVES = 3
"""Octaves of the Fourier features of a patch's position in a rectangle."""

OFFSET_FEATURES = 4 * OFFSET_OCTAVES + 2
"""Sine and cosine of both coordinates, and the patch's size relative to the rectangle's."""


class SelfAttention(nn.Module):
    """Softmax self-attention between patches.

    Args:
        width: Width of the patches' states.
        heads: Number of heads; it divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Attend from all patches to all patches, (n, patches, width)."""
        query, key, value = (
            project(patches).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        attended = scaled_dot_product_attention(query, key, value)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))


class OffsetProjection(nn.Module):
    """Projects attended offsets; a module of its own for the name of its weights.

    Args:
        heads: Number of attention heads.
        width: Width of the output.
    """

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.offset_projection = nn.Linear(heads * OFFSET_FEATURES, width)

    def forward(self, attended: torch.Tensor) -> torch.Tensor:
        """Project (n, patches, heads * OFFSET_FEATURES) to (n, patches, width)."""
        return self.offset_projection(attended)


class GroundedCrossAttention(nn.Module):
    """Cross-attention from patches to the tokens of c and z.

    A patch receives a token's value, and the patch's offset within the token's rectangle, weighted
    alike. Offsets are relative positions among the values (Shaw et al., arXiv 1803.02155, eq. 3),
    in two dimensions and relative to the rectangle: "star" together with "at its upper left" is a
    corner. From absolute coordinates the network would have to learn to subtract and divide.

    The query is normalised, unlike Sana's: states to which blocks only ever add grow, and the
    scores with them, until training diverges.

    Args:
        width: Width of the patches' states.
        heads: Number of heads; it divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.processor = OffsetProjection(heads, width)

    def keys_and_values(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute keys and values of tokens, each (n, length, width)."""
        return self.to_k(tokens), self.to_v(tokens)

    def forward(
        self,
        patches: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor,
        offsets: torch.Tensor,
    ) -> torch.Tensor:
        """Attend from patches to tokens.

        Args:
            patches: (n, patches, width).
            key: From `keys_and_values`.
            value: From `keys_and_values`.
            bias: Added to the scores, (n, heads, patches, length).
            offsets: From `rect_offsets`, (n, patches, length, OFFSET_FEATURES).

        Returns:
            (n, patches, width).
        """
        query = self.to_q(layer_norm(patches, patches.shape[-1:]))
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        scores = query @ key.transpose(-1, -2) * self.scale + bias
        weights = scores.softmax(-1)
        attended = (weights @ value).transpose(1, 2).flatten(2)
        located = (weights.transpose(1, 2) @ offsets).flatten(2)
        return self.to_out[0](attended) + self.processor(located)


Grid = tuple[int, int]
"""Rows and columns of patches, or of pixels."""


def local_bias(rects: torch.Tensor, mask: torch.Tensor, grid: Grid, heads: int) -> torch.Tensor:
    """Compute what is added to scores so that tokens with a rectangle are attended to locally.

    It is 0 for a token whose rectangle contains the patch, and negative elsewhere: more in some
    heads than in others, as in ALiBi (arXiv 2108.12409).

    Args:
        rects: (n, length, 4), as for `rect_distance`.
        mask: (n, length), 1 or True where a token counts.
        grid: Rows and columns of patches.
        heads: Number of attention heads.

    Returns:
        (n, heads, rows * columns, length).
    """
    padding = (1 - mask.to(rects.dtype))[:, None, None] * PADDING_SCORE
    slopes = torch.linspace(0.0, STEEPEST, heads, device=rects.device)
    return padding - slopes[:, None, None] * rect_distance(rects, grid)[:, None]


def rect_distance(rects: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Compute the distance of the patches' centres from rectangles.

    Args:
        rects: (n, length, 4), rectangles (x1, y1, x2, y2) in units of the image's sides.
        grid: Rows and columns of patches.

    Returns:
        (n, rows * columns, length) in units of the image's sides, 0 inside the rectangle.
    """
    y, x = (
        torch.maximum(rects[:, None, :, axis] - middle, middle - rects[:, None, :, axis + 2])
        for middle, axis in zip((m[:, None] for m in centres(grid, rects)), (1, 0), strict=True)
    )
    return torch.hypot(x.clamp(0.0)[:, None], y.clamp(0.0)[:, :, None]).flatten(1, 2)


def centres(grid: Grid, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centres of rows, and those of columns, in units of the image's sides."""
    rows, columns = ((torch.arange(count, device=like.device) + 0.5) / count for count in grid)
    return rows, columns


def rect_offsets(rects: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Compute Fourier features of the patches' positions in rectangles.

    Within the rectangle a centre's coordinates run from -1 to 1. They are clamped to twice that
    range: farther away it only matters that a patch lies outside.

    Args:
        rects: (n, length, 4), as for `rect_distance`.
        grid: Rows and columns of patches.

    Returns:
        (n, rows * columns, length, OFFSET_FEATURES).
    """
    device = rects.device
    y, x = torch.meshgrid(*centres(grid, rects), indexing="ij")
    patches = torch.stack([x, y], -1).view(1, -1, 1, 2)
    counts = torch.tensor([grid[1], grid[0]], device=device, dtype=rects.dtype)
    low, high = rects[:, None, :, :2], rects[:, None, :, 2:]
    size = torch.maximum(high - low, 1.0 / (8 * counts))
    inside = ((2.0 * patches - low - high) / size).clamp(-2.0, 2.0)
    octaves = 0.25 * torch.pi * 2.0 ** torch.arange(OFFSET_OCTAVES, device=device)
    phase = (inside[..., None] * octaves).flatten(-2)
    scale = (1.0 / (counts * size)).clamp(max=2.0).expand(-1, grid[0] * grid[1], -1, -1)
    return torch.cat([phase.sin(), phase.cos(), scale], -1)
