"""How pictures are prepared for a network: their size, and the range of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.models.safe_folder import read_json

BICUBIC = int(Image.Resampling.BICUBIC)

MAX_SIDE = 4096
"""Largest side of prepared pictures, in pixels."""


@dataclass(frozen=True)
class Preprocessing:
    """Pixels become ``(pixel · scale - mean) / std``; by default from -1 to 1.

    Attributes:
        stride: Side of the square of pixels that one id covers.
        side: Pictures get this size: the shorter side is scaled to it and the middle cut out. None
            keeps their size.
        scale: Factor on values from 0 to 255.
        mean: Of red, green and blue.
        std: Likewise.
        resample: Pillow's number of the filter.
    """

    stride: int
    side: int | None = None
    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    resample: int = BICUBIC

    def refusal(self, height: int, width: int) -> str:
        """Return why a picture of this size in pixels cannot be used; empty if it can."""
        if self.side is not None or not (height % self.stride or width % self.stride):
            return ""
        return (
            f"one token of the tokenizer covers {self.stride} x {self.stride} pixels, which does "
            f"not divide an image of {width} x {height}"
        )

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """Turn uint8 (h, w, 3) into float (3, height, width)."""
        pixels = image if self.side is None else _square(image, self.side, self.resample)
        # A copy: the pixels of a record are read-only, and torch warns of that.
        values = torch.from_numpy(np.array(pixels)).float() * self.scale
        return ((values - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(2, 0, 1)


def _square(image: np.ndarray, side: int, resample: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = (max(round(width * factor), side), max(round(height * factor), side))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    scaled = Image.fromarray(image).resize(size, Image.Resampling(resample))
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def read_preprocessing(folder: Path, default: Preprocessing) -> Preprocessing:
    """Read how a folder's image processor of transformers prepares pictures, if it has one.

    Args:
        folder: May hold ``preprocessor_config.json``, or ``processor_config.json`` with it inside.
        default: The values that it does not name.

    Raises:
        KaleidoError: If the file is damaged.
        ValueError: Or TypeError, if a value is not of its kind.
    """
    found = _processor(folder)
    side = _side(found.get("crop_size") or found.get("size")) or default.side
    if side is not None and not 0 < side <= MAX_SIDE:
        raise ValueError(f"pictures of {side} pixels are asked for")
    return replace(
        default,
        side=side,
        scale=float(found.get("rescale_factor", default.scale)),
        mean=_three(found.get("image_mean"), default.mean),
        std=_three(found.get("image_std"), default.std),
        resample=int(Image.Resampling(found.get("resample", default.resample))),
    )


def _processor(folder: Path) -> Mapping[str, Any]:
    alone, whole = folder / "preprocessor_config.json", folder / "processor_config.json"
    if alone.is_file():
        found = read_json(alone)
    else:
        content = read_json(whole) if whole.is_file() else {}
        found = content.get("image_processor") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _side(size: Mapping[str, int] | int | None) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    return None if size is None else int(size)


def _three(values: Sequence[float] | float | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if values is None:
        return default
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(value) for value in values)
