"""Between pictures of bytes and the tensors that the networks read and write."""

from __future__ import annotations

import numpy as np
import torch


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Turn uint8 (n, height, width, 3) into float (n, 3, height, width) in [-1, 1]."""
    # A copy, since torch warns of arrays that may not be written to.
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Turn (n, 3, height, width), clamped to [-1, 1], into uint8 (n, height, width, 3)."""
    pixels = ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
