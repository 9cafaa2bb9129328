"""How a network wants its pictures: their size, and what values stand for black and white."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

BICUBIC = int(Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Look:
    """Pixels become ``(pixel · scale - mean) / std``; the default is from -1 to 1.

    Attributes:
        stride: Side of the square of pixels that one id covers.
        side: Pictures are brought to this size: the shorter side scaled, the middle cut out. None
            takes them as they are.
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
        """Why a picture of this size in pixels cannot be taken; empty if it can."""
        if self.side is not None or not (height % self.stride or width % self.stride):
            return ""
        return (
            f"one token of the tokenizer covers {self.stride} x {self.stride} pixels, which does "
            f"not divide an image of {width} x {height}"
        )

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """Turn uint8 (h, w, 3) into float (3, height, width)."""
        pixels = image if self.side is None else _square(image, self.side, self.resample)
        # Copies, since the pixels of a record are not to be written, and torch warns of that.
        values = torch.from_numpy(np.array(pixels)).float() * self.scale
        return ((values - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(2, 0, 1)


def _square(image: np.ndarray, side: int, resample: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = (max(round(width * factor), side), max(round(height * factor), side))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    scaled = Image.fromarray(image).resize(size, Image.Resampling(resample))
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def read_look(folder: Path, look: Look) -> Look:
    """Change a look by what a folder's image processor of transformers says, if it has one.

    Args:
        folder: May hold ``preprocessor_config.json``, or ``processor_config.json`` with it inside.
        look: What holds where that says nothing.
    """
    found = _processor(folder)
    size = found.get("crop_size") or found.get("size")
    return replace(
        look,
        side=_side(size) or look.side,
        scale=float(found.get("rescale_factor", look.scale)),
        mean=_three(found.get("image_mean"), look.mean),
        std=_three(found.get("image_std"), look.std),
        resample=int(found.get("resample", look.resample)),
    )


def _processor(folder: Path) -> dict[str, Any]:
    alone = folder / "preprocessor_config.json"
    if alone.is_file():
        return dict(json.loads(alone.read_text("utf-8")))
    whole = folder / "processor_config.json"
    if whole.is_file():
        return dict(json.loads(whole.read_text("utf-8")).get("image_processor", {}))
    return {}


def _side(size: Mapping[str, int] | int | None) -> int | None:
    if isinstance(size, Mapping):
        return size.get("height") or size.get("shortest_edge")
    return size


def _three(values: Sequence[float] | float | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if values is None:
        return default
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(value) for value in values)
