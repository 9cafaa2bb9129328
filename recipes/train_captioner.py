"""Recipe of the captioner: ``python -m recipes.train_captioner --out FOLDER``.

The default of 576,000 scenes takes minutes on a GPU with many CPU cores, which draw the scenes, and
hours on two cores; reduce it with ``--images``. The recipe of the scenes' models also runs it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pipelines.core.progress import SILENT, LineProgress, Progress
from pipelines.core.seeds import derive, generator
from pipelines.extract.captioners.tiny import Captioner, build_captioner
from pipelines.models.pixels import to_tensor
from pipelines.scenes.descriptions import describe_scene, read_description
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import Scene, sample_scene
from pipelines.train.checkpoint import drop_checkpoint
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task
from recipes.card import write_card
from recipes.recipe_options import recipe_options

SIZE = 64
IMAGES = 576_000
BATCH = 128
VOCABULARY_SCENES = 2000
HELD_OUT = 1000

Example = tuple[np.ndarray, str]


class Batch(NamedTuple):
    """The scenes of a training step.

    Attributes:
        images: (n, 3, side, side), in [-1, 1].
        ids: Ids of the descriptions, (n, length), see `Captioner.tokenize`.
    """

    images: torch.Tensor
    ids: torch.Tensor


class CaptionerTask(Task):
    """The captioner's task for the training loop.

    Args:
        captioner: The untrained captioner.
        seed: Seed of the scenes.
    """

    def __init__(self, captioner: Captioner, seed: int) -> None:
        self.captioner, self.model, self._seed = captioner, captioner.model, seed

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of pictures (n, 3, side, side) in [-1, 1] and ids of their descriptions."""
        examples = [draw_example(self._seed, "captioner", start + i) for i in range(count)]
        pixels, texts = zip(*examples, strict=True)
        return Batch(to_tensor(np.stack(pixels)), self.captioner.tokenize(texts))

    def loss(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Compute the cross-entropy of the descriptions."""
        return self.captioner.loss(batch.images, batch.ids)


def draw_example(seed: int, purpose: str, index: int, split: str = "train") -> Example:
    """Draw scene number `index` of a purpose: uint8 (side, side, 3) and a description."""
    scene, text = _describe(seed, purpose, index, split)
    return draw_scene(scene, SIZE).pixels, text


def _describe(seed: int, purpose: str, index: int, split: str = "train") -> tuple[Scene, str]:
    rng = generator(seed, purpose, index)
    scene = sample_scene(rng)
    while scene.split != split:
        scene = sample_scene(rng)
    return scene, describe_scene(scene, rng)


def learn(checkpoint: Path, images: int, seed: int, progress: Progress = SILENT) -> Captioner:
    """Train a captioner on a number of scenes, resuming from the checkpoint."""
    torch.manual_seed(derive(seed, "captioner-init"))
    texts = [_describe(seed, "captioner", index)[1] for index in range(VOCABULARY_SCENES)]
    captioner = build_captioner(texts, SIZE)
    options = TrainOptions(
        steps=max(images // BATCH, 1),
        batch_size=BATCH,
        learning_rate=1e-3,
        warmup=100,
        seed=seed,
        ema=0.99,
        precision="auto",
    )
    settings = {key: value for key, value in asdict(options).items() if key != "steps"}
    train(CaptionerTask(captioner, seed), options, checkpoint, settings, "captioner", progress)
    captioner.model.cpu()
    return captioner


def measure(captioner: Captioner, seed: int, images: int) -> dict[str, float]:
    """Describe held-out scenes and compare the stated facts with the ground truth.

    Returns:
        F1 of the facts of `read_description`, by kind and for ``all``; the share of ``exact``
        descriptions, with every fact right; and the share of ``distinct`` descriptions.
    """
    examples = [draw_example(seed, "captioner-heldout", i, "heldout") for i in range(images)]
    written = [
        text
        for part in _chunks(examples)
        for text in captioner.describe(to_tensor(np.stack([pixels for pixels, _ in part])))
    ]
    pairs = [
        (read_description(text), read_description(truth))
        for text, (_, truth) in zip(written, examples, strict=True)
    ]
    kinds = dict.fromkeys(fact[0] for _, truth in pairs for fact in truth)
    scores = {f"F1 of {kind}": _f1(pairs, kind) for kind in kinds}
    return {
        "F1 of all": _f1(pairs),
        **scores,
        "exact": float(np.mean([said == true for said, true in pairs])),
        "distinct": len(set(written)) / len(written),
    }


def _f1(
    pairs: Sequence[tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]], kind: str = ""
) -> float:
    right = stated = 0
    for said, true in pairs:
        for fact, count in (said & true).items():
            right += count * (not kind or fact[0] == kind)
        for facts in (said, true):
            stated += sum(count for fact, count in facts.items() if not kind or fact[0] == kind)
    return 2.0 * right / stated if stated else 1.0


def _chunks(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    return (examples[at : at + BATCH] for at in range(0, len(examples), BATCH))


def make(
    out: Path, checkpoint: Path, images: int, seed: int, progress: Progress = SILENT
) -> dict[str, float]:
    """Train a captioner and save it in fp16, with its card.

    Args:
        out: Output folder; an existing captioner is replaced.
        checkpoint: Folder of the checkpoint to resume from, which is kept.
        images: Scenes seen in training.
        seed: Seed of initial weights and scenes.
        progress: Receives progress and messages.

    Returns:
        The rounded results of `measure`.
    """
    learn(checkpoint, images, seed, progress).save(out, torch.float16)
    captioner = Captioner.load(out)
    found = {name: round(value, 4) for name, value in measure(captioner, seed, HELD_OUT).items()}
    write_card(
        out,
        "Captioner of scenes",
        "Describes what a caption leaves open: every object's size, colour, texture, shape and "
        "place, their arrangement, and the background. A small ViT encoder and a small GPT-2 "
        "decoder.",
        "Apache-2.0",
        "python -m recipes.train_captioner --out FOLDER",
        {
            "parameters": sum(value.numel() for value in captioner.model.parameters()),
            "input": f"{SIZE} px; other sizes are resized",
            "scenes seen": images,
            "seed": seed,
            **{f"{HELD_OUT} held-out scenes: {name}": value for name, value in found.items()},
        },
        "It is trained only on scenes of one to three shapes and describes every picture as such a "
        "scene. Decoding is greedy, so its wording does not vary.",
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and write the captioner."""
    options = recipe_options(arguments, "captioner", IMAGES)
    torch.set_num_threads(options.threads)
    found = make(options.out, options.checkpoint, options.images, options.seed, LineProgress())
    drop_checkpoint(options.checkpoint)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
