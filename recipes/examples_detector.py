"""Training examples of the detector: scenes drawn on the fly, in the format of ultralytics' loss.

Only combinations of the ``train`` split are drawn; held-out combinations are for measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.masks import around
from pipelines.core.seeds import generator
from pipelines.scenes.draw import Drawing, draw_scene
from pipelines.scenes.factors import SHAPES, Scene, sample_scene

DRAWN_SIZE = 64
INPUT_SIZE = 96  # mask prototypes have a stride of 4: drawn at 64 they would be 16 pixels wide
SHARE_HARD = 0.2  # scenes of up to six overlapping objects at any rotation
MIN_VISIBLE = 0.25  # objects with a smaller visible share are not targets


@dataclass(frozen=True)
class Target:
    """A visible object: class index, box (x1, y1, x2, y2) in drawn pixels, mask (h, w)."""

    label: int
    box: tuple[int, int, int, int]
    mask: np.ndarray


def draw_example(
    seed: int, purpose: str, index: int, split: str = "train", share_hard: float = 0.0
) -> tuple[np.ndarray, list[Target]]:
    """Draw scene number `index` of a purpose and split: uint8 (64, 64, 3) and targets."""
    rng = generator(seed, purpose, index)
    hard = bool(rng.random() < share_hard)
    scene = sample_scene(rng, hard)
    while scene.split != split:
        scene = sample_scene(rng, hard)
    drawing = draw_scene(scene, DRAWN_SIZE)
    return drawing.pixels, _targets(scene, drawing)


def _targets(scene: Scene, drawing: Drawing) -> list[Target]:
    found = []
    for item, mask, share in zip(scene.objects, drawing.masks, drawing.visible, strict=True):
        if share >= MIN_VISIBLE and mask.any():
            found.append(Target(SHAPES.index(item.shape), around(mask), mask))
    return found


def make_batch(seed: int, first: int, count: int) -> dict[str, Tensor]:
    """Draw `count` scenes from `first` on, in the format of ultralytics' loss.

    Returns:
        ``img`` (n, 3, s, s) in [0, 1]; for all m objects ``batch_idx`` (m,), ``cls``
        (m, 1) and ``bboxes`` (m, 4), centre and size in fractions of the side; ``masks``
        (n, h, w), k + 1 where an image's object k is visible; ``sem_masks`` (n, h, w), its class.
    """
    purpose = "detector-train"
    drawn = [draw_example(seed, purpose, first + i, "train", SHARE_HARD) for i in range(count)]
    masks = np.zeros((count, DRAWN_SIZE, DRAWN_SIZE), np.float32)
    classes = np.zeros((count, DRAWN_SIZE, DRAWN_SIZE), np.int64)
    rows = []
    for image, (_, targets) in enumerate(drawn):
        for index, target in enumerate(targets):
            masks[image][target.mask] = index + 1
            classes[image][target.mask] = target.label
            x1, y1, x2, y2 = np.array(target.box) / DRAWN_SIZE
            rows.append((image, target.label, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {
        "img": _to_input(np.stack([pixels for pixels, _ in drawn]), seed, first),
        "batch_idx": table[:, 0],
        "cls": table[:, 1:2],
        "bboxes": table[:, 2:],
        "masks": torch.from_numpy(masks),
        "sem_masks": torch.from_numpy(classes),
    }


def _to_input(pixels: np.ndarray, seed: int, first: int) -> Tensor:
    """Vary the brightness, add noise, and scale to the network's input size."""
    rng = generator(seed, "detector-augment", first)
    gain = rng.uniform(0.85, 1.1, (len(pixels), 1, 1, 1))
    level = rng.uniform(0.0, 0.03, (len(pixels), 1, 1, 1))
    noisy = pixels / 255.0 * gain + rng.standard_normal(pixels.shape, np.float32) * level
    images = torch.from_numpy(noisy.clip(0.0, 1.0).astype(np.float32)).permute(0, 3, 1, 2)
    images = functional.interpolate(images, (INPUT_SIZE, INPUT_SIZE), mode="bilinear")
    return images.contiguous(memory_format=torch.channels_last)
