"""Recipe of the boxes detector: ``python -m pipelines.embedded.train_detector --out FOLDER``.

A YOLO segmentation network learns from scenes that are drawn on the fly, with a loop of our own,
because ultralytics' trainer reads files and writes pickles. Only combinations of the ``train``
split are drawn, so that the held-out ones measure it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.seeds import derive, generator
from pipelines.data.scenes.draw import Drawing, draw_scene
from pipelines.data.scenes.factors import SHAPES, Scene, sample_scene
from pipelines.embedded.card import write_card
from pipelines.extract.backends.yolo import (
    Detections,
    YoloBackend,
    build_model,
    drop_training_parts,
    import_ultralytics,
)

ARCHITECTURE = "yolo26n-seg"
LICENCE = "AGPL-3.0-only"
DRAWN_SIZE = 64
INPUT_SIZE = 96  # mask prototypes have a stride of 4: drawn at 64 they would be 16 pixels wide
BATCH = 32
PEAK_RATE = 2e-3
EMA = 0.998
GRADIENT_NORM = 10.0
SHARE_HARD = 0.2  # scenes of up to six overlapping objects at any rotation
MIN_VISIBLE = 0.25  # an object covered further than this is no target
BALANCE_STEPS = 100  # the loss shifts to the end-to-end head in so many steps
SAVE_SECONDS = 60.0
REPORT_SECONDS = 20.0
TEST_SCENES = 1000


@dataclass(frozen=True)
class Target:
    """One visible object: class index, box (x1, y1, x2, y2) in drawn pixels, mask (h, w)."""

    label: int
    box: tuple[int, int, int, int]
    mask: np.ndarray


def draw_example(
    seed: int, purpose: str, index: int, split: str = "train", share_hard: float = 0.0
) -> tuple[np.ndarray, list[Target]]:
    """Draw scene number `index` of a purpose, of the given split: uint8 (64, 64, 3) and targets."""
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
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if share >= MIN_VISIBLE and rows.size:
            edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            x1, y1, x2, y2 = (int(edge) for edge in edges)
            found.append(Target(SHAPES.index(item.shape), (x1, y1, x2, y2), mask))
    return found


def make_batch(seed: int, first: int, count: int) -> dict[str, Tensor]:
    """Draw scenes `first` to ``first + count`` as ultralytics' loss wants them.

    Returns:
        ``img`` (n, 3, s, s) in [0, 1]; for all m objects in turn ``batch_idx`` (m,), ``cls``
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
    """Scale to the network's input, after a little change of brightness and noise."""
    rng = generator(seed, "detector-augment", first)
    gain = rng.uniform(0.85, 1.1, (len(pixels), 1, 1, 1))
    level = rng.uniform(0.0, 0.03, (len(pixels), 1, 1, 1))
    noisy = pixels / 255.0 * gain + rng.standard_normal(pixels.shape, np.float32) * level
    images = torch.from_numpy(noisy.clip(0.0, 1.0).astype(np.float32)).permute(0, 3, 1, 2)
    images = functional.interpolate(images, (INPUT_SIZE, INPUT_SIZE), mode="bilinear")
    return images.contiguous(memory_format=torch.channels_last)


class Training:
    """The network, its average and its optimizer; what comes next depends on `images_seen` alone.

    Args:
        out: Folder of ``checkpoint.safetensors``, which is gone on from if it exists.
        images: Scenes to see in all; the schedules stretch over them.
        seed: Initial weights and scenes.
        bf16: Compute the network in bfloat16; faster only where the processor has units for it.
        batch_size: Scenes a step.
    """

    def __init__(
        self,
        out: Path,
        images: int,
        seed: int = 0,
        bf16: bool = False,
        batch_size: int = BATCH,
    ) -> None:
        self.out, self.images, self.seed, self.bf16 = out, images, seed, bf16
        self.batch_size = batch_size
        self.images_seen = 0
        torch.manual_seed(derive(seed, "detector-init"))
        self.model = new_model().to(memory_format=torch.channels_last).train()
        self.criterion = self.model.init_criterion()
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        decay: list[torch.nn.Parameter] = []
        plain: list[torch.nn.Parameter] = []
        for parameter in self.model.parameters():
            (decay if parameter.ndim > 1 else plain).append(parameter)
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE)
        self._resume()

    @property
    def progress(self) -> float:
        """The share of the training that is done."""
        return self.images_seen / self.images

    def run(self) -> None:
        """Train to the end; print a line every 20 seconds, save every minute."""
        reported = saved = time.monotonic()
        since, losses = self.images_seen, []
        while self.images_seen < self.images:
            losses.append(self.step())
            now = time.monotonic()
            if now - reported >= REPORT_SECONDS or self.images_seen >= self.images:
                rate = (self.images_seen - since) / (now - reported)
                parts = " ".join(f"{name} {value:.3f}" for name, value in _mean(losses).items())
                print(f"{self.images_seen}/{self.images} {rate:.1f} images/s {parts}", flush=True)
                reported, since, losses = now, self.images_seen, []
            if now - saved >= SAVE_SECONDS or self.images_seen >= self.images:
                self.save()
                saved = now

    def step(self) -> dict[str, float]:
        """Take one step; return the loss of each part."""
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK_RATE * schedule(self.progress)
        updates = int(self.progress * BALANCE_STEPS)
        self.criterion.o2m = self.criterion.decay(updates)
        self.criterion.o2o = self.criterion.total - self.criterion.o2m
        batch = make_batch(self.seed, self.images_seen, self.batch_size)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            predictions = self.model(batch["img"])
        loss, parts = self.criterion(_float(predictions), batch)
        self.optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.images_seen += self.batch_size
        self._update_average()
        return {name.removesuffix("_loss"): float(value) for name, value in parts.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        steps = self.images_seen / self.batch_size
        weight = 1.0 - min(EMA, (1.0 + steps) / (10.0 + steps))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, weight)
            else:
                self.average[name].copy_(value)

    def save(self) -> None:
        """Write everything needed to go on, in one step."""
        tensors = {f"model/{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v.contiguous() for k, v in self.average.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{k}": v.contiguous() for k, v in slots.items()}
        metadata = {"images_seen": str(self.images_seen)}
        atomic_write(self.out / "checkpoint.safetensors", save(tensors, metadata))

    def _resume(self) -> None:
        path = self.out / "checkpoint.safetensors"
        if not path.is_file():
            return
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        with safe_open(path, framework="pt") as file:
            self.images_seen = int(file.metadata()["images_seen"])
            for key in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
                part, name = key.split("/", 1)
                parts[part][name] = file.get_tensor(key)
        self.model.load_state_dict(parts["model"])
        self.average = parts["average"]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimizer"].items():
            index, name = key.split("/")
            slots.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        print(f"going on from image {self.images_seen}", flush=True)


def new_model() -> torch.nn.Module:
    """Build the untrained network with one class a shape and the gains that its loss reads."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    architecture = tasks.yaml_model_load(f"{ARCHITECTURE}.yaml") | {"nc": len(SHAPES)}
    model = build_model(architecture)
    model.args = import_ultralytics("ultralytics.cfg").get_cfg(overrides={"epochs": BALANCE_STEPS})
    return model


def schedule(progress: float) -> float:
    """The share of the peak rate: warm-up over a twentieth, then a cosine down to 1 %."""
    if progress < 0.05:
        return (progress + 0.001) / 0.051
    return 0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * (progress - 0.05) / 0.95))


def _float(value: Any) -> Any:
    """The same nest of dicts, lists and tuples with float32 tensors: the loss is exact then."""
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _float(item) for key, item in value.items()}
    return type(value)(_float(item) for item in value)


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def export(training: Training) -> None:
    """Write the averaged network as YAML and fp16 safetensors, without training-only heads."""
    model = new_model()
    architecture = {k: v for k, v in model.yaml.items() if k != "yaml_file"}
    model.load_state_dict(training.average)
    state = drop_training_parts(model).state_dict()
    weights = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in state.items()
    }
    text = f"# SPDX-License-Identifier: {LICENCE}\n" + yaml.safe_dump(
        architecture, sort_keys=False, default_flow_style=None
    )
    atomic_write(training.out / "model.safetensors", save(weights))
    atomic_write(training.out / "model.yaml", text.encode())
    write_config(training.out, training, {})


def describe(out: Path, config: Mapping[str, Any]) -> None:
    """Write the card and the licence of the architecture, which is that of the weights too."""
    write_card(
        out,
        "Detector of the embedded scenes",
        "A YOLO26n segmentation network (`model.yaml`, from ultralytics) trained from scratch. "
        "`kaleido extract boxes` and `kaleido extract blobs` read pictures with it.",
        LICENCE,
        "python -m pipelines.embedded.train_detector",
        {
            "classes": ", ".join(config["names"]),
            "data": "procedural scenes of the `train` combinations, a part of them hard ones",
            "input": f"{config['image_size']} px; smaller pictures are enlarged",
            **config["training"],
            **{f"held-out {name}": value for name, value in config["results"].items()},
        },
        "It knows the shapes of the scenes and nothing else: it is no detector for photographs. "
        "Objects of which less than a quarter is visible were no targets.",
    )
    licence = metadata.distribution("ultralytics").read_text("licenses/LICENSE")
    if licence is None:
        raise KaleidoError("ultralytics", "its licence text is missing.", "Reinstall ultralytics.")
    atomic_write(out / "LICENSE", f"SPDX-License-Identifier: {LICENCE}\n\n{licence}".encode())


def write_config(out: Path, training: Training, results: Mapping[str, Any]) -> dict[str, Any]:
    """Write what the loader needs, how the network was trained, and what it reached."""
    config = {
        "architecture": ARCHITECTURE,
        "names": list(SHAPES),
        "image_size": INPUT_SIZE,
        "licence": LICENCE,
        "training": {
            "images": training.images_seen,
            "batch_size": training.batch_size,
            "peak_learning_rate": PEAK_RATE,
            "ema": EMA,
            "share_hard": SHARE_HARD,
            "seed": training.seed,
        },
        "results": dict(results),
    }
    atomic_write(out / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    return config


def measure(backend: YoloBackend, seed: int, scenes: int = TEST_SCENES) -> dict[str, Any]:
    """Measure a detector on scenes of held-out combinations.

    Returns:
        ``box_map50``, the mean over classes of ``box_ap50``; ``mask_iou``, the mean of all objects
        found at a box IoU of at least 0.5; ``found``, their share; ``scenes``, how many.
    """
    scored: list[tuple[int, float, bool]] = []
    mask_ious: list[float] = []
    truths: list[int] = []
    for first in range(0, scenes, BATCH):
        indices = range(first, min(first + BATCH, scenes))
        drawn = [draw_example(seed, "detector-test", i, "heldout") for i in indices]
        found = backend.predict([pixels for pixels, _ in drawn])
        for detections, (_, targets) in zip(found, drawn, strict=True):
            truths.extend(target.label for target in targets)
            hits, ious = match(detections, targets)
            labels = [SHAPES.index(label) for label in detections.labels]
            scored.extend(zip(labels, detections.scores.tolist(), hits, strict=True))
            mask_ious.extend(ious)
    ap = {name: _class_precision(scored, truths, i) for i, name in enumerate(SHAPES)}
    return {
        "box_map50": round(float(np.mean(list(ap.values()))), 4),
        "box_ap50": {name: round(value, 4) for name, value in ap.items()},
        "mask_iou": round(float(np.mean(mask_ious or [0.0])), 4),
        "found": round(len(mask_ious) / len(truths), 4),
        "scenes": scenes,
    }


def match(detections: Detections, targets: Sequence[Target]) -> tuple[list[bool], list[float]]:
    """Match detections, most certain first, to unmatched targets of their class at IoU >= 0.5.

    Returns:
        Whether each detection hit a target, and the mask IoU of each hit.
    """
    free = list(range(len(targets)))
    hits, mask_ious = [], []
    for box, label, mask in zip(detections.boxes, detections.labels, detections.masks, strict=True):
        own = [i for i in free if SHAPES[targets[i].label] == label]
        ious = [_box_iou(box, targets[i].box) for i in own]
        hits.append(bool(ious) and max(ious) >= 0.5)
        if hits[-1]:
            best = own[int(np.argmax(ious))]
            free.remove(best)
            shape, truth = mask >= 0.5, targets[best].mask
            mask_ious.append(float((shape & truth).sum() / (shape | truth).sum()))
    return hits, mask_ious


def _box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(width * height / (areas - width * height))


def _class_precision(
    scored: Sequence[tuple[int, float, bool]], truths: Sequence[int], label: int
) -> float:
    rows = sorted(((s, hit) for own, s, hit in scored if own == label), key=lambda row: -row[0])
    return average_precision([hit for _, hit in rows], truths.count(label))


def average_precision(hits: Sequence[bool], truths: int) -> float:
    """Area under the precision-recall curve, precision made monotone (PASCAL VOC, since 2010).

    Args:
        hits: Whether each detection is right, the most certain first.
        truths: How many there were to find.
    """
    right = np.cumsum(np.asarray(hits, dtype=np.float64))
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right, prepend=0.0) / max(truths, 1)
    return float((precision * steps).sum())


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export, measure and describe the detector."""
    parser = argparse.ArgumentParser(description="Train the boxes detector from drawn scenes.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the detector")
    parser.add_argument("--images", type=int, default=56_000, help="scenes seen in training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="for processors with bfloat16 units")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    training = Training(options.out, options.images, options.seed, options.bf16)
    training.run()
    export(training)
    backend = YoloBackend(options.out, confidence=0.01, max_detections=50)
    results = measure(backend, options.seed)
    describe(options.out, write_config(options.out, training, results))
    print(json.dumps(results), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
