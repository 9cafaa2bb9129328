"""Recipe of the judge: ``python -m pipelines.embedded.train_judge --out FOLDER``.

Scenes are drawn on the fly with seeds of purpose ``judge``, which no data set uses. Half of them
follow the data's joint distribution; in the other half shape, colour, texture and background are
uniform, so that the judge cannot guess a colour from a shape: such a guess would flatter whatever
model collapses onto the favourites. Some pictures are blurred or noisy, as drawn samples are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.files import atomic_write
from pipelines.core.seeds import derive, generator
from pipelines.data.scenes.draw import draw_scene
from pipelines.data.scenes.factors import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TEXTURES,
    Scene,
    sample_scene,
)
from pipelines.embedded.card import write_card
from pipelines.evaluate.judge import (
    STRIDE,
    Judge,
    JudgeConfig,
    JudgeNetwork,
    Verdict,
    iou,
    save_judge,
    to_input,
)
from pipelines.latents.base import GRID

SIZE = 64
BATCH = 64
PEAK_RATE = 2e-3
SAVE_EVERY = 100  # steps
CHECKPOINT = "checkpoint.safetensors"  # goes when the judge is done
MIN_VISIBLE = 0.2  # an object covered further than this is not asked for
FEATURE_IMAGES = 3000  # renders that the principal components are computed from
HELD_OUT = 1000


TruthObject = tuple[str, str, str, tuple[float, float, float, float]]
"""Shape, colour, texture and visible box."""


@dataclass(frozen=True)
class Truth:
    """What is visible in one render; boxes are in fractions of the side."""

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
        plain: Follow the data's joint always, as for the ceiling.

    Returns:
        uint8 (64, 64, 3) and the truth.
    """
    rng = generator(seed, purpose, index)
    scene = sample_scene(rng, hard=not plain and rng.random() < 0.15)
    if not plain and rng.random() < 0.5:
        scene = _uniform(scene, rng)
    drawing = draw_scene(scene, SIZE)
    objects = tuple(
        (item.shape, item.colour, item.texture, _box(mask))
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


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    x1, y1, x2, y2 = (float(edge) / len(mask) for edge in edges)
    return x1, y1, x2, y2


def targets(truths: Sequence[Truth]) -> dict[str, Tensor]:
    """Write truths as the maps that the heads should show.

    Every object spreads a Gaussian around its centre; a cell learns box, colour and texture from
    the object that is strongest there, with that strength as the weight (TTFNet, 1909.00700).

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
    # Centred on a whole cell, so that exactly one cell of the heatmap is 1.
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


def loss_of(outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Sum CenterNet's focal loss, the boxes' IoU loss and the attributes' cross-entropies."""
    heat, logits = target["heat"], outputs["heat"]
    log_yes, log_no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    yes = (heat == 1.0).float()
    focal = yes * log_no.exp() ** 2 * log_yes
    focal = focal + (1.0 - yes) * (1.0 - heat) ** 4 * log_yes.exp() ** 2 * log_no
    weight = target["weight"]
    total = weight.sum().clamp_min(1.0)
    colour = functional.cross_entropy(outputs["colour"], target["colour"], reduction="none")
    texture = functional.cross_entropy(outputs["texture"], target["texture"], reduction="none")
    overlap = _iou_of_distances(outputs["box"], target["box"])
    local = colour + texture + 2.0 * (1.0 - overlap)
    background = functional.cross_entropy(outputs["background"], target["background"])
    return -focal.sum() / yes.sum().clamp_min(1.0) + (weight * local).sum() / total + background


def _iou_of_distances(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes that hold the same point, given as distances to their sides (n, 4, s, s)."""
    inner = torch.minimum(a, b)
    inside = (inner[:, 0] + inner[:, 2]) * (inner[:, 1] + inner[:, 3])
    areas = [(d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (a, b)]
    return inside / (areas[0] + areas[1] - inside).clamp_min(1e-6)


def spoil(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur, tint and speckle some of a batch (n, 3, size, size), as samples of a model may be."""
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


def train(out: Path, images: int, seed: int = 0) -> JudgeNetwork:
    """Train, or go on from the checkpoint in `out`; the position alone decides what is drawn."""
    torch.manual_seed(derive(seed, "judge-init"))
    network = JudgeNetwork(_config()).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    total = max(images // BATCH, 1)
    first = _resume(out / CHECKPOINT, network, optimizer)
    started = time.monotonic()
    for step in range(first, total):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * _schedule(step, total)
        pixels, truths = zip(
            *(draw_example(seed, "judge", step * BATCH + i) for i in range(BATCH)), strict=True
        )
        x = spoil(to_input(np.stack(pixels), SIZE), generator(seed, "judge-spoil", step))
        loss = loss_of(network.train()(x), targets(truths))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == total:
            _save(out / CHECKPOINT, network, optimizer, step + 1)
            rate = (step + 1 - first) * BATCH / (time.monotonic() - started)
            print(f"step {step + 1}/{total} loss {loss.item():.3f} {rate:.0f} images/s", flush=True)
    return network


def _config() -> JudgeConfig:
    return JudgeConfig(SHAPES, COLOURS, TEXTURES, BACKGROUNDS, SIZE)


def _schedule(step: int, total: int) -> float:
    """Warm up over a twentieth, then fall along a cosine to 1 % of the peak."""
    warm = max(total // 20, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * (step - warm) / max(total - warm, 1)))


def _save(path: Path, network: JudgeNetwork, optimizer: torch.optim.Optimizer, step: int) -> None:
    from safetensors.torch import save

    state = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": v.contiguous() for name, v in slots.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, save(state, metadata={"step": str(step)}))


def _resume(path: Path, network: JudgeNetwork, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint if there is one; return the number of steps it has seen."""
    from safetensors import safe_open

    if not path.is_file():
        return 0
    slots: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for name in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
            kind, rest = name.split(".", 1)
            if kind == "network":
                weights[rest] = file.get_tensor(name)
            else:
                index, slot = rest.split(".")
                slots.setdefault(int(index), {})[slot] = file.get_tensor(name)
    network.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    print(f"going on from step {step}", flush=True)
    return step


@torch.inference_mode()
def fit_features(network: JudgeNetwork, seed: int, images: int) -> None:
    """Set the features' mean and basis: principal components, scaled to unit total variance.

    The components keep their variances (no whitening): a direction in which renders hardly differ
    must not weigh as much as one in which they do.
    """
    network.eval()
    rows = torch.cat(
        [
            network.raw_features(to_input(np.stack(chunk), SIZE))
            for chunk in _chunks(
                draw_example(seed, "judge-features", i, True)[0] for i in range(images)
            )
        ]
    ).double()
    mean = rows.mean(0)
    spread = rows.std(0).clamp_min(1e-3)
    values, vectors = torch.linalg.eigh(torch.cov(((rows - mean) / spread).T))
    keep = network.feature_basis.shape[1]
    basis = vectors[:, -keep:].flip(1) / values[-keep:].sum().sqrt()
    network.feature_mean.copy_(mean)
    network.feature_basis.copy_(basis / spread[:, None])


def _chunks(images: Iterator[np.ndarray], size: int = 128) -> Iterator[list[np.ndarray]]:
    chunk: list[np.ndarray] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def measure(judge: Judge, seed: int, images: int) -> dict[str, float]:
    """Measure the judge on held-out renders of the data's own distribution.

    Returns:
        ``box``: share of visible objects found at IoU >= 0.5 whatever their label; ``adherence``:
        the same with the right shape, as boxes are scored; ``shape``, ``colour``, ``texture``:
        share right among those found; ``background`` and ``count``: share of images.
    """
    pixels, truths = zip(
        *(draw_example(seed, "judge-heldout", i, True) for i in range(images)), strict=True
    )
    verdicts = judge(np.stack(pixels))
    found = [pair for v, t in zip(verdicts, truths, strict=True) for pair in _match(v, t)]
    asked = sum(len(t.objects) for t in truths)
    right = {name: sum(pair[name] for pair in found) for name in ("shape", "colour", "texture")}
    whole = list(zip(verdicts, truths, strict=True))
    return {
        "box": len(found) / asked,
        "adherence": right["shape"] / asked,
        **{name: count / max(len(found), 1) for name, count in right.items()},
        "background": float(np.mean([v.background == t.background for v, t in whole])),
        "count": float(np.mean([len(v.objects) == len(t.objects) for v, t in whole])),
    }


def _match(verdict: Verdict, truth: Truth) -> Iterator[dict[str, bool]]:
    """Match greedily, best overlap first."""
    overlaps = [
        (iou(found.box, tuple(v * GRID for v in item[3])), i, j)
        for i, found in enumerate(verdict.objects)
        for j, item in enumerate(truth.objects)
    ]
    taken: tuple[set[int], set[int]] = (set(), set())
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap >= 0.5 and i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            shape, colour, texture, _ = truth.objects[j]
            found = verdict.objects[i]
            yield {
                "shape": found.shape == shape,
                "colour": found.colour == colour,
                "texture": found.texture == texture,
            }


def describe(out: Path, network: JudgeNetwork, images: int, ceiling: Mapping[str, float]) -> None:
    """Write the judge's card."""
    write_card(
        out,
        "Judge of scenes",
        "A small detector that scores pictures in `kaleido evaluate`. It is of another "
        "architecture than the detector that makes training latents (fully convolutional, in the "
        "manner of CenterNet, against YOLO), was trained on other scenes and has never seen an "
        "output of that detector. It gives shape, colour, texture and box of each object, the "
        "picture's background, and the features that distances are measured in.",
        "Apache-2.0",
        "python -m pipelines.embedded.train_judge --out FOLDER",
        {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "input": f"{SIZE} px; other sizes are resized",
            "scenes seen": images,
            "data": "half follows the data's joint distribution, half has uniform shapes, colours, "
            "textures and backgrounds, so that none can be guessed from another; 15 % is crowded, "
            "and half is blurred or noisy",
            "features": "levels of the network pooled to 4 x 4, 4 x 4 and 2 x 2 cells, on the "
            f"{network.feature_basis.shape[1]} leading principal components of {FEATURE_IMAGES} "
            "renders, centred there and scaled to unit total variance",
            **{f"right on {HELD_OUT} held-out renders: {k}": v for k, v in ceiling.items()},
        },
        "It knows scenes and nothing else. It does not judge rotation or which object lies on top, "
        f"and was not asked for objects of which less than {100 * MIN_VISIBLE:.0f} % is visible. "
        "It is meant to overlook a slight blur, and so do its features: a Gaussian of one pixel "
        "hardly moves the Fréchet distance. `kaleido evaluate` reports edge energy for that.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and write the judge."""
    parser = argparse.ArgumentParser(description="Train the judge from scenes drawn on the fly.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the judge")
    parser.add_argument("--images", type=int, default=100_000, help="scenes seen in training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    network = train(options.out, options.images, options.seed)
    fit_features(network, options.seed, FEATURE_IMAGES)
    judge = save_judge(options.out, network, _config())
    ceiling = {k: round(v, 4) for k, v in measure(judge, options.seed, HELD_OUT).items()}
    judge = save_judge(options.out, network, replace(_config(), ceiling=ceiling))
    describe(options.out, network, options.images, ceiling)
    (options.out / CHECKPOINT).unlink()
    print(json.dumps({"judge": judge.name, "ceiling": ceiling}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
