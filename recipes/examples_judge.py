"""Training examples of the judge: scenes drawn on the fly, with target maps for its heads.

The seeds have the purpose ``judge``, which no data set uses. Half of the scenes follow the data's
joint distribution; in the other half, shape, colour, texture and background are uniform, so that
the judge cannot infer a colour from a shape, which would favour models that collapse to the most
likely colours. Some pictures are blurred or noisy, like samples of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.masks import around_in_fractions
from pipelines.core.seeds import generator
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TEXTURES,
    Scene,
    sample_scene,
)
from pipelines.scenes.judge import STRIDE

SIZE = 64
MIN_VISIBLE = 0.2  # objects with a smaller visible share are not targets

TruthObject = tuple[str, str, str, tuple[float, float, float, float]]
"""Shape, colour, texture and visible box."""


@dataclass(frozen=True)
class Truth:
    """The visible content of one render; boxes are in fractions of the side."""

    objects: tuple[TruthObject, ...]
    background: str


def draw_example(
    seed: int, purpose: str, index: int, plain: bool = False
) -> tuple[np.ndarray, Truth]:
    """Draw scene number `index` of a purpose.

    Args:
        seed: The recipe's seed.
        purpose: ``judge`` to train, ``judge-heldout`` to measure.
        index: The scene's number.
        plain: Always follow the data's joint distribution, as for the ceiling.

    Returns:
        uint8 (64, 64, 3) and the ground truth.
    """
    rng = generator(seed, purpose, index)
    scene = sample_scene(rng, hard=not plain and rng.random() < 0.15)
    if not plain and rng.random() < 0.5:
        scene = _uniform(scene, rng)
    drawing = draw_scene(scene, SIZE)
    objects = tuple(
        (item.shape, item.colour, item.texture, around_in_fractions(mask))
        for item, mask, share in zip(scene.objects, drawing.masks, drawing.visible, strict=True)
        if share >= MIN_VISIBLE and mask.any()
    )
    return drawing.pixels, Truth(objects, scene.background)


def _uniform(scene: Scene, rng: np.random.Generator) -> Scene:
    objects = tuple(
        replace(
            item,
            shape=str(rng.choice(SHAPES)),
            colour=str(rng.choice(COLOURS)),
            texture=str(rng.choice(TEXTURES)),
        )
        for item in scene.objects
    )
    return replace(scene, objects=objects, background=str(rng.choice(BACKGROUNDS)))


def targets(truths: Sequence[Truth]) -> dict[str, Tensor]:
    """Convert ground truths to the target maps of the heads.

    Every object has a Gaussian around its centre; a cell learns box, colour and texture of the
    object with the largest value there, which is also the loss weight (TTFNet, 1909.00700).

    Returns:
        ``heat`` (n, shapes, s, s), ``weight`` (n, s, s), ``box`` (n, 4, s, s) in pixels,
        ``colour`` and ``texture`` (n, s, s) and ``background`` (n,) indices.
    """
    n, side = len(truths), SIZE // STRIDE
    maps: dict[str, np.ndarray] = {
        "heat": np.zeros((n, len(SHAPES), side, side), np.float32),
        "weight": np.zeros((n, side, side), np.float32),
        "box": np.zeros((n, 4, side, side), np.float32),
        "colour": np.zeros((n, side, side), np.int64),
        "texture": np.zeros((n, side, side), np.int64),
        "background": np.array([BACKGROUNDS.index(t.background) for t in truths]),
    }
    for row, truth in enumerate(truths):
        for item in truth.objects:
            _spread({k: v[row] for k, v in maps.items() if k != "background"}, item)
    return {k: torch.from_numpy(v) for k, v in maps.items()}


def _spread(maps: Mapping[str, np.ndarray], item: TruthObject) -> None:
    shape, colour, texture, fractions = item
    box = np.array(fractions) * SIZE
    side = maps["weight"].shape[0]
    x, y = (box[:2] + box[2:]) / 2.0 / STRIDE - 0.5
    sigma = np.maximum((box[2:] - box[:2]) / STRIDE / 6.0, 0.5)
    cells = np.arange(side)
    # Centre the Gaussian on a cell, so that exactly one cell of the heatmap is 1.
    column, line = (int(np.clip(round(v), 0, side - 1)) for v in (x, y))
    across = np.exp(-0.5 * ((cells - column) / sigma[0]) ** 2)
    down = np.exp(-0.5 * ((cells - line) / sigma[1]) ** 2)
    bump = np.outer(down, across).astype(np.float32)
    heat = maps["heat"][SHAPES.index(shape)]
    np.maximum(heat, bump, out=heat)
    own = (bump > maps["weight"]) & (bump > 0.05)
    maps["weight"][own] = bump[own]
    middle = (cells + 0.5) * STRIDE
    distances = np.stack(
        np.broadcast_arrays(
            (middle - box[0])[None, :],
            (middle - box[1])[:, None],
            (box[2] - middle)[None, :],
            (box[3] - middle)[:, None],
        )
    )
    maps["box"][:, own] = np.maximum(distances, 0.5)[:, own]
    maps["colour"][own] = COLOURS.index(colour)
    maps["texture"][own] = TEXTURES.index(texture)


def spoil(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur, tint or add noise to some images (n, 3, size, size), to resemble a model's samples."""
    n = len(x)
    sigma = np.where(rng.random(n) < 0.5, rng.uniform(0.3, 1.1, n), 0.05)
    taps = np.exp(-0.5 * (np.arange(-2, 3) / sigma[:, None]) ** 2)
    kernel = torch.from_numpy((taps / taps.sum(1, keepdims=True)).astype(np.float32))
    kernel = kernel.repeat_interleave(3, 0)[:, None, None, :]
    flat = x.reshape(1, n * 3, *x.shape[2:])
    for turned in (kernel, kernel.transpose(2, 3)):
        padding = (0, 0, 2, 2) if turned.shape[2] == 5 else (2, 2, 0, 0)
        flat = functional.conv2d(functional.pad(flat, padding, "replicate"), turned, groups=n * 3)
    gain = torch.from_numpy(rng.normal(1.0, 0.03, (n, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.normal(0.0, 0.02, (n, 3, 1, 1)).astype(np.float32))
    noise_level = np.where(rng.random(n) < 0.5, rng.uniform(0.0, 0.12, n), 0.0)
    noise = rng.standard_normal(x.shape, dtype=np.float32) * noise_level[:, None, None, None]
    x = flat.reshape(x.shape) * gain + shift + torch.from_numpy(noise.astype(np.float32))
    return x.clamp(-1.0, 1.0).contiguous(memory_format=torch.channels_last)
