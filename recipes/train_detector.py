"""Recipe of the boxes detector: ``python -m recipes.train_detector --out FOLDER``.

A YOLO segmentation network is trained in Kaleido's training loop, because ultralytics' trainer
reads files and writes pickles.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch import Tensor, nn

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, LineProgress, Progress
from pipelines.core.seeds import derive
from pipelines.extract.detectors.yolo import (
    YoloBackend,
    build_model,
    drop_training_parts,
    import_ultralytics,
)
from pipelines.scenes.factors import SHAPES
from pipelines.train.checkpoint import drop_checkpoint
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task
from recipes.card import write_card
from recipes.examples_detector import INPUT_SIZE, SHARE_HARD, make_batch
from recipes.measure_detector import measure
from recipes.recipe_options import recipe_options

ARCHITECTURE = "yolo26n-seg"
LICENCE = "AGPL-3.0-only"
BATCH = 32
PEAK_RATE = 2e-3
EMA = 0.998
BALANCE_STEPS = 100  # number of steps over which the loss shifts to the end-to-end head

Batch = tuple[float, dict[str, Tensor]]


class DetectorTask(Task):
    """The detector's task for the training loop.

    Args:
        images: Total number of scenes.
        seed: Seed of initial weights and scenes.
    """

    def __init__(self, images: int, seed: int) -> None:
        torch.manual_seed(derive(seed, "detector-init"))
        self.model = new_model().to(memory_format=torch.channels_last)
        self._images, self._seed = images, seed

    def batch(self, start: int, count: int) -> Batch:
        """Return the progress of the training, from 0 to 1, and the result of `make_batch`."""
        return start / self._images, make_batch(self._seed, start, count)

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Sum ultralytics' losses of boxes, classes and masks over both heads."""
        done, examples = batch
        criterion = self._criterion
        criterion.o2m = criterion.decay(int(done * BALANCE_STEPS))
        criterion.o2o = criterion.total - criterion.o2m
        total, _ = criterion(self.model(examples["img"]), examples)
        return total.sum() / len(examples["img"])  # ultralytics multiplies by the batch size

    @cached_property
    def _criterion(self) -> Any:
        return (
            self.model.init_criterion()
        )  # created late, on the device to which the loop has moved the model


def new_model() -> nn.Module:
    """Build the untrained network with one class per shape and the gains of its loss."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    architecture = tasks.yaml_model_load(f"{ARCHITECTURE}.yaml") | {"nc": len(SHAPES)}
    model = build_model(architecture)
    model.args = import_ultralytics("ultralytics.cfg").get_cfg(overrides={"epochs": BALANCE_STEPS})
    return model


def learn(checkpoint: Path, images: int, seed: int, progress: Progress = SILENT) -> nn.Module:
    """Train a network on a number of scenes, resuming from the checkpoint."""
    options = TrainOptions(
        steps=max(images // BATCH, 1),
        batch_size=BATCH,
        learning_rate=PEAK_RATE,
        warmup=80,
        seed=seed,
        cooldown=0.5,
        ema=EMA,
        weight_decay=0.01,
        clip=0.3,
    )
    settings = {key: value for key, value in asdict(options).items() if key != "steps"}
    task = DetectorTask(images, seed)
    train(task, options, checkpoint, settings, "detector", progress)
    return task.model.cpu()


def export(out: Path, model: nn.Module, images: int, seed: int) -> None:
    """Write a network as YAML and fp16 safetensors, without training-only heads."""
    shipped = new_model()
    architecture = {k: v for k, v in shipped.yaml.items() if k != "yaml_file"}
    shipped.load_state_dict(model.state_dict())
    weights = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in drop_training_parts(shipped).state_dict().items()
    }
    text = f"# SPDX-License-Identifier: {LICENCE}\n" + yaml.safe_dump(
        architecture, sort_keys=False, default_flow_style=None
    )
    atomic_write(out / "model.safetensors", save(weights))
    atomic_write(out / "model.yaml", text.encode())
    write_config(out, images, seed, {})


def write_config(out: Path, images: int, seed: int, results: Mapping[str, Any]) -> dict[str, Any]:
    """Write the loader's configuration, the training settings and the measurements."""
    config = {
        "architecture": ARCHITECTURE,
        "names": list(SHAPES),
        "image_size": INPUT_SIZE,
        "licence": LICENCE,
        "training": {
            "images": images,
            "batch_size": BATCH,
            "peak_learning_rate": PEAK_RATE,
            "ema": EMA,
            "share_hard": SHARE_HARD,
            "seed": seed,
        },
        "results": dict(results),
    }
    atomic_write(out / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    return config


def describe(out: Path, config: Mapping[str, Any]) -> None:
    """Write the card, and the licence of the architecture, which also applies to the weights."""
    write_card(
        out,
        "Detector of the embedded scenes",
        "A YOLO26n segmentation network (`model.yaml`, from ultralytics) trained from scratch. "
        "`kaleido extract boxes` and `kaleido extract blobs` use it.",
        LICENCE,
        "python -m recipes.train_detector",
        {
            "classes": ", ".join(config["names"]),
            "data": "procedural scenes of the `train` combinations, some of them hard scenes",
            "input": f"{config['image_size']} px; smaller pictures are enlarged",
            **config["training"],
            **{f"held-out {name}": value for name, value in config["results"].items()},
        },
        "It detects only the shapes of scenes and is not a detector for photographs. Objects of "
        "which less than a quarter is visible were not training targets.",
    )
    licence = metadata.distribution("ultralytics").read_text("licenses/LICENSE")
    if licence is None:
        raise KaleidoError("ultralytics", "its licence text is missing.", "Reinstall ultralytics.")
    atomic_write(out / "LICENSE", f"SPDX-License-Identifier: {LICENCE}\n\n{licence}".encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export and measure the detector, and write its card."""
    options = recipe_options(arguments, "detector", 56_000)
    torch.set_num_threads(options.threads)
    out, images, seed = options.out, options.images, options.seed
    export(out, learn(options.checkpoint, images, seed, LineProgress()), images, seed)
    results = measure(YoloBackend(out, confidence=0.01, max_detections=50), seed)
    describe(out, write_config(out, images, seed, results))
    drop_checkpoint(options.checkpoint)
    print(json.dumps(results), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
