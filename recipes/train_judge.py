"""Recipe of the judge: ``python -m recipes.train_judge --out FOLDER``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.progress import SILENT, LineProgress, Progress
from pipelines.core.seeds import derive, generator
from pipelines.models.pixels import to_square_tensor
from pipelines.scenes.factors import BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from pipelines.scenes.judge import JudgeConfig, JudgeNetwork, save_judge
from pipelines.train.checkpoint import drop_checkpoint
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task
from recipes.card import write_card
from recipes.examples_judge import MIN_VISIBLE, SIZE, draw_example, spoil, targets
from recipes.measure_judge import measure
from recipes.recipe_options import recipe_options

CONFIG = JudgeConfig(SHAPES, COLOURS, TEXTURES, BACKGROUNDS, SIZE)
BATCH = 64
FEATURE_IMAGES = 3000  # renders that the principal components are computed from
HELD_OUT = 1000

Batch = tuple[Tensor, dict[str, Tensor]]


class JudgeTask(Task):
    """The judge's task for the training loop.

    Args:
        seed: Seed of initial weights and scenes.
    """

    def __init__(self, seed: int) -> None:
        torch.manual_seed(derive(seed, "judge-init"))
        self.model = JudgeNetwork(CONFIG).to(memory_format=torch.channels_last)
        self._seed = seed

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of augmented pictures (n, 3, size, size) in [-1, 1] and their `targets`."""
        examples = [draw_example(self._seed, "judge", start + i) for i in range(count)]
        pixels, truths = zip(*examples, strict=True)
        rng = generator(self._seed, "judge-spoil", start)
        return spoil(to_square_tensor(np.stack(pixels), SIZE), rng), targets(truths)

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """See `loss_of`."""
        x, target = batch
        return loss_of(self.model(x), target)


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
    """Compute the IoU of boxes around the same point, given as distances to sides (n, 4, s, s)."""
    inner = torch.minimum(a, b)
    inside = (inner[:, 0] + inner[:, 2]) * (inner[:, 1] + inner[:, 3])
    areas = [(d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (a, b)]
    return inside / (areas[0] + areas[1] - inside).clamp_min(1e-6)


def learn(checkpoint: Path, images: int, seed: int, progress: Progress = SILENT) -> JudgeNetwork:
    """Train a network on a number of scenes, resuming from the checkpoint."""
    options = TrainOptions(
        steps=max(images // BATCH, 1),
        batch_size=BATCH,
        learning_rate=2e-3,
        warmup=80,
        seed=seed,
        cooldown=0.5,
        ema=0.99,
        weight_decay=0.02,
        clip=5.0,
    )
    settings = {key: value for key, value in asdict(options).items() if key != "steps"}
    task = JudgeTask(seed)
    train(task, options, checkpoint, settings, "judge", progress)
    return task.model.cpu()


@torch.inference_mode()
def fit_features(network: JudgeNetwork, seed: int, images: int) -> None:
    """Set the features' mean and basis: principal components, scaled to unit total variance.

    The components are not whitened, because directions in which renders hardly differ should not
    weigh as much as the others.
    """
    network.eval()
    rows = torch.cat(
        [
            network.pooled(network.levels(to_square_tensor(np.stack(chunk), SIZE)))
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


def describe(out: Path, network: JudgeNetwork, images: int, ceiling: Mapping[str, float]) -> None:
    """Write the judge's card."""
    write_card(
        out,
        "Judge of scenes",
        "A small detector that scores pictures in `kaleido evaluate`. It is independent of the "
        "detector that extracts training latents: a fully convolutional network like CenterNet "
        "instead of YOLO, trained on other scenes and never on that detector's output. It predicts "
        "shape, colour, texture and box of each object and the picture's background, and provides "
        "the feature space of the distance metrics.",
        "Apache-2.0",
        "python -m recipes.train_judge --out FOLDER",
        {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "input": f"{SIZE} px; other sizes are resized",
            "scenes seen": images,
            "data": "half follows the data's joint distribution, half has uniform and independent "
            "shapes, colours, textures and backgrounds; 15 % is crowded, and half is blurred or "
            "noisy",
            "features": "levels of the network pooled to 4 x 4, 4 x 4 and 2 x 2 cells, on the "
            f"{network.feature_basis.shape[1]} leading principal components of {FEATURE_IMAGES} "
            "renders, centred there and scaled to unit total variance",
            **{f"right on {HELD_OUT} held-out renders: {k}": v for k, v in ceiling.items()},
        },
        "It is trained only on scenes. It does not predict rotation or depth order, and objects of "
        f"which less than {100 * MIN_VISIBLE:.0f} % is visible were not training targets. It and "
        "its features are robust to slight blur: a Gaussian of one pixel hardly changes the "
        "Fréchet distance. `kaleido evaluate` reports edge energy to detect blur.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and write the judge."""
    options = recipe_options(arguments, "judge", 100_000)
    torch.set_num_threads(options.threads)
    out, images, seed = options.out, options.images, options.seed
    network = learn(options.checkpoint, images, seed, LineProgress())
    fit_features(network, seed, FEATURE_IMAGES)
    judge = save_judge(out, network, CONFIG)
    ceiling = {k: round(v, 4) for k, v in measure(judge, seed, HELD_OUT).items()}
    judge = save_judge(out, network, replace(CONFIG, ceiling=ceiling))
    describe(out, network, images, ceiling)
    drop_checkpoint(options.checkpoint)
    print(json.dumps({"judge": judge.name, "ceiling": ceiling}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
