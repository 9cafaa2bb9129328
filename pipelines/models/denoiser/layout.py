"""Layout map: the items that z names, drawn as feature maps at their positions."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.models.denoiser.attention import Grid, centres

WAVES = 6
"""Cosines along each side of a rectangle; an item's pattern is a sum of their products."""

MARGIN = 1.25
"""Size of an item's pattern relative to its rectangle."""


class LayoutMap(nn.Module):
    """Draws every named item into its rectangle, as a sum of cosines predicted from its token.

    Attention tells a patch which items it contains, but an outline consists of pixels. So the
    layout is also given as an image (as SpaText, arXiv 2211.14305, gives its regions). Its channels
    are 0 where nothing is named; a rectangle contains a pattern predicted from the item's name,
    scaled to the rectangle. Where rectangles overlap, their patterns are averaged.

    Args:
        context_dim: Width of the conditioning tokens.
        channels: Channels of the map.
    """

    def __init__(self, context_dim: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.pattern = nn.Linear(context_dim, channels * WAVES * WAVES)

    def forward(
        self, tokens: torch.Tensor, rects: torch.Tensor, names: torch.Tensor, grid: Grid
    ) -> torch.Tensor:
        """Draw the map.

        Args:
            tokens: Conditioning tokens, (n, length, context_dim).
            rects: (n, length, 4), rectangles (x1, y1, x2, y2) in units of the image's sides.
            names: bool (n, length), True where a token names the content of its rectangle.
            grid: Rows and columns of the map.

        Returns:
            (n, channels, rows, columns).
        """
        most = max(int(names.sum(-1).max()), 1)
        # Stable, so that the result of a row does not depend on other rows.
        named, index = names.to(tokens.dtype).sort(dim=-1, descending=True, stable=True)
        named, index = named[:, :most], index[:, :most, None]
        tokens = tokens.gather(1, index.expand(-1, -1, tokens.shape[-1]))
        rects = rects.gather(1, index.expand(-1, -1, 4))
        (y, waves_y), (x, waves_x) = (
            _waves(rects[..., axis], rects[..., axis + 2], middle)
            for axis, middle in zip((1, 0), centres(grid, rects), strict=True)
        )
        pattern = self.pattern(tokens).unflatten(-1, (self.channels, WAVES, WAVES))
        pattern = pattern * named[:, :, None, None, None]
        # (n, channels, y, item, wave), then over items and waves along x.
        down = torch.einsum("nicab,niyb->ncyia", pattern, waves_y).flatten(-2)
        across = waves_x.permute(0, 2, 1, 3).flatten(-2)
        drawn = down @ across.transpose(-1, -2)[:, None]
        covered = y.transpose(1, 2) @ (x * named[..., None])
        return drawn / covered.clamp(min=1.0)[:, None]


def _waves(
    low: torch.Tensor, high: torch.Tensor, middles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate cosines along one side of rectangles.

    Args:
        low: Their lower edges on this axis, (n, items).
        high: Their higher edges.
        middles: Centres of the map's rows or columns, (count,).

    Returns:
        The share of each row or column that lies inside, (n, items, count), and the cosines,
        (n, items, count, WAVES), 0 outside.
    """
    count, low, high = len(middles), low[..., None], high[..., None]
    size = (MARGIN * (high - low)).clamp(min=1.0 / count)
    at = (2.0 * middles - low - high) / size
    inside = ((1.0 - at.abs()) * size * count / 2.0 + 0.5).clamp(0.0, 1.0)
    phase = torch.pi / 2.0 * (at + 1.0)
    waves = (phase[..., None] * torch.arange(WAVES, device=low.device)).cos()
    return inside, waves * inside[..., None]
