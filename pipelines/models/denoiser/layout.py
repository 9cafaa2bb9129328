"""Layout: what z says of places, drawn as a map on the pixels."""

from __future__ import annotations

import torch
from torch import nn

WAVES = 6
"""Cosines along each side of a rectangle from which an item's shape on the map is put together."""

MARGIN = 1.25
"""How far an item is drawn beyond its rectangle, as a factor of its size."""


class LayoutMap(nn.Module):
    """Draws every named item into its rectangle, as a sum of cosines that its token chooses.

    Attention tells a patch what stands there; an outline is made of pixels. So a
    layout is also given as a picture (as SpaText, arXiv 2211.14305, gives its regions): channels
    that hold 0 where nothing is named and, within a rectangle, a small pattern that belongs to
    what is named, at any size. Where rectangles overlap the map holds the mean.

    Args:
        context_dim: Width of the context tokens.
        channels: Of the map.
    """

    def __init__(self, context_dim: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.pattern = nn.Linear(context_dim, channels * WAVES * WAVES)

    def forward(
        self, tokens: torch.Tensor, places: torch.Tensor, names: torch.Tensor, side: int
    ) -> torch.Tensor:
        """Draw the map.

        Args:
            tokens: Context tokens, (n, length, context_dim).
            places: (n, length, 4), rectangles (x1, y1, x2, y2) in units of the image's side.
            names: bool (n, length), True where a token names what its rectangle holds.
            side: Of the map.

        Returns:
            (n, channels, side, side).
        """
        most = max(int(names.sum(-1).max()), 1)
        # Stable, so that a row's result does not depend on the rows beside it.
        named, index = names.to(tokens.dtype).sort(dim=-1, descending=True, stable=True)
        named, index = named[:, :most], index[:, :most, None]
        tokens = tokens.gather(1, index.expand(-1, -1, tokens.shape[-1]))
        places = places.gather(1, index.expand(-1, -1, 4))
        inside, waves = _waves(places, side)
        pattern = self.pattern(tokens).unflatten(-1, (self.channels, WAVES, WAVES))
        pattern = pattern * named[:, :, None, None, None]
        # (n, channels, y, item, wave), then over items and waves along x.
        down = torch.einsum("nicab,niyb->ncyia", pattern, waves[..., 1, :]).flatten(-2)
        across = waves[..., 0, :].permute(0, 2, 1, 3).flatten(-2)
        drawn = down @ across.transpose(-1, -2)[:, None]
        x, y = inside[..., 0] * named[..., None], inside[..., 1]
        covered = y.transpose(1, 2) @ x
        return drawn / covered.clamp(min=1.0)[:, None]


def _waves(places: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines along both sides of rectangles.

    Args:
        places: (n, items, 4).
        side: Pixels along the image's side.

    Returns:
        How much of each column and row lies inside, (n, items, side, 2), from 0 to 1, and the
        cosines, (n, items, side, 2, WAVES), 0 outside.
    """
    centres = (torch.arange(side, device=places.device) + 0.5) / side
    low, high = places[:, :, None, :2], places[:, :, None, 2:]
    size = (MARGIN * (high - low)).clamp(min=1.0 / side)
    at = (2.0 * centres[:, None] - low - high) / size
    inside = ((1.0 - at.abs()) * size * side / 2.0 + 0.5).clamp(0.0, 1.0)
    phase = torch.pi / 2.0 * (at + 1.0)
    waves = (phase[..., None] * torch.arange(WAVES, device=places.device)).cos()
    return inside, waves * inside[..., None]
