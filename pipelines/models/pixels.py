"""Convert between 8-bit images and the tensors of the networks."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from pipelines.core.errors import KaleidoError
from pipelines.core.images import open_image
from pipelines.core.record import Record

PADDING = 114 / 255
"""The grey that pads images to squares, as in ultralytics."""


def reduced_pixels(record: Record, side: int) -> np.ndarray:
    """Decode a record's square image and reduce it to `side` pixels by an integer factor.

    Raises:
        KaleidoError: If the image is not square, or is smaller than `side`.
    """
    # `record.pixels` would keep the decoded image in memory as long as the record.
    image = open_image(record.image, record.key)
    if image.width != image.height or image.width < side:
        raise KaleidoError(
            record.key,
            f"the picture has {image.width} x {image.height} pixels, but training needs squares "
            f"of at least {side} pixels.",
            'Write the data again with data.fit = "pad" or "crop".',
            "bad-data",
        )
    return np.asarray(image.reduce(image.width // side))


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Convert uint8 (n, height, width, 3) to float (n, 3, height, width) in [-1, 1]."""
    # Copy, because torch warns about read-only arrays.
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Convert (n, 3, height, width), clamped to [-1, 1], to uint8 (n, height, width, 3)."""
    pixels = ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def to_square_tensor(images: np.ndarray, size: int) -> torch.Tensor:
    """Convert uint8 (n, height, width, 3) to float (n, 3, size, size) in [-1, 1] and resize."""
    x = to_tensor(images)
    if x.shape[-2:] != (size, size):
        x = functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def fit_square(image: np.ndarray, side: int) -> torch.Tensor:
    """Scale uint8 (h, w, 3) to a square, padded at the right or at the bottom.

    Returns:
        Float (3, side, side) in [0, 1].
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255.0
    pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=scale < 1.0)
    return functional.pad(pixels, (0, side - size[1], 0, side - size[0]), value=PADDING)[0]
