"""Convert between 8-bit images and the tensors of the networks."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from pipelines.core.images import open_image
from pipelines.core.record import Record
from pipelines.latents.base import Rect
from pipelines.latents.crop import WHOLE
from pipelines.models.shapes import Shape, crop_region

PADDING = 114 / 255
"""The grey that pads images to squares, as in ultralytics."""


def pixels_of(record: Record, shape: Shape, region: Rect | None = None) -> np.ndarray:
    """Decode a part of a record's picture at a shape.

    Args:
        record: The record.
        shape: Height and width in pixels; a smaller picture is enlarged.
        region: The part, in units of the picture's sides; by default the largest one of this
            shape, in the middle.

    Returns:
        uint8 (height, width, 3).
    """
    # `record.pixels` would keep the decoded image in memory as long as the record. Enough pixels
    # are decoded to cut out the part, whichever way the picture is turned.
    zoom = 1.0 if region is None else 1.0 / min(region[2] - region[0], region[3] - region[1])
    image = open_image(record.image, record.key, least=math.ceil(zoom * max(shape)))
    return fit_pixels(image, shape, region)


def fit_pixels(image: Image.Image, shape: Shape, region: Rect | None = None) -> np.ndarray:
    """Return a part of an RGB picture at a shape; see `pixels_of`."""
    height, width = shape
    part = crop_region(image.size, shape) if region is None else region
    times = image.width // width
    if part == WHOLE and image.size == (times * width, times * height):
        return np.asarray(image.reduce(times))
    box = to_box(part, image)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))


def to_box(region: Rect, image: Image.Image) -> Rect:
    """Return a part of a picture in pixels."""
    left, top, right, bottom = region
    width, height = image.size
    return left * width, top * height, right * width, bottom * height


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
