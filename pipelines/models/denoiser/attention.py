"""Attention that knows which place a token speaks of."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn.functional import layer_norm

OFFSET_OCTAVES = 3
"""Octaves of the Fourier features of a patch's place in a rectangle."""

OFFSET_FEATURES = 4 * OFFSET_OCTAVES + 2
"""Sine and cosine of both coordinates, and the patch's size beside the rectangle's."""


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
        *pair, within = encoder_hidden_states
        query = attn.to_q(layer_norm(hidden_states, hidden_states.shape[-1:]))
        query = query.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in pair)
        scores = query @ key.transpose(-1, -2) * attn.scale + attention_mask
        weights = scores.softmax(-1)
        heard = (weights @ value).transpose(1, 2).flatten(2)
        lies = (weights.transpose(1, 2) @ within).flatten(2)
        return attn.to_out[0](heard) + self.offset_projection(lies)


def distance(places: torch.Tensor, side: int) -> torch.Tensor:
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


def offsets(places: torch.Tensor, side: int) -> torch.Tensor:
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
