"""Where the image tokens of a denoiser are: its main blocks, and what these return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Block:
    """A main block of a denoiser.

    Attributes:
        name: Its path in the denoiser.
        module: The block.
        width: Channels of its image tokens.
        place: Which element of what it returns holds the image tokens; None if it returns a single
            tensor, which may hold text as well (`Family.image_spans`).
    """

    name: str
    module: nn.Module
    width: int
    place: int | None


def listed_blocks(
    denoiser: Any, places: Mapping[str, int | None], width: int | None = None
) -> list[Block]:
    """Return the blocks of a denoiser's lists.

    Args:
        denoiser: Has the lists as attributes.
        places: Name of a list -> place of the image tokens.
        width: Channels of the image tokens; None: those of all attention heads.
    """
    if width is None:
        width = denoiser.config.num_attention_heads * denoiser.config.attention_head_dim
    return [
        Block(f"{name}.{index}", module, width, place)
        for name, place in places.items()
        for index, module in enumerate(getattr(denoiser, name))
    ]


def unet_blocks(unet: nn.Module) -> list[Block]:
    """Return the transformer blocks of a U-Net, whose widths differ from level to level."""
    return [
        Block(name, module, int(module.norm1.normalized_shape[0]), None)
        for name, module in unet.named_modules()
        if type(module).__name__ == "BasicTransformerBlock"
    ]
