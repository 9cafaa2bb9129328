"""The part of the scenes that a small base can learn on one CPU core: one or two objects.

``python -m recipes.small_scenes --pictures FOLDER -n 4000`` writes training pictures with captions,
from which an adapter can be trained; ``--captions FILE -n 16`` writes captions to draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.core.seeds import derive, generator
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import Scene
from pipelines.scenes.generate import scene_of

MOST = 1
"""Objects in a scene."""
SIDE = 32
"""Side of the pictures in pixels."""
DESCRIBED = 0.25
"""Share of captions that a description of the scene follows. The captions of published models vary
in detail too, and a base cannot follow a prompt in words that it has never read."""


def training_scenes(seed: int) -> Iterator[tuple[Scene, str]]:
    """Draw scenes of the training combinations without end, with captions of varied detail."""
    index = 0
    while True:
        scene, caption = scene_of(seed, index)
        if len(scene.objects) <= MOST and scene.split == "train":
            rng = generator(seed, "detail", index)
            detailed = f"{caption}. {describe_scene(scene, rng)}"
            yield scene, detailed if rng.random() < DESCRIBED else caption
        index += 1


def new_captions(count: int) -> list[str]:
    """Return captions of other scenes; of held-out combinations, unless one object is the most."""
    found: dict[str, None] = {}
    seed, split = derive(0, "evaluate", "captions"), "train" if MOST == 1 else "heldout"
    for index in range(count * 1_000):
        scene, caption = scene_of(seed, index)
        if len(scene.objects) <= MOST and scene.split == split:
            found[caption] = None
        if len(found) == count:
            break
    return list(found)


def pixels_of(scenes: Sequence[Scene]) -> torch.Tensor:
    """Draw scenes: (n, 3, `SIDE`, `SIDE`), in [-1, 1]."""
    drawn = np.stack([draw_scene(scene, SIDE).pixels for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Write pictures, and a text beside each with its caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (scene, caption) in enumerate(islice(training_scenes(seed), count)):
        file = folder / f"{index:05d}.png"
        Image.fromarray(draw_scene(scene, 2 * SIDE).pixels).save(file)
        file.with_suffix(".txt").write_text(caption, "utf-8")


def main() -> None:
    """Write pictures or captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="their folder")
    parser.add_argument("--captions", type=Path, help="their file")
    parser.add_argument("-n", type=int, default=16, help="how many of either")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.pictures:
        write_pictures(options.pictures, options.n, options.seed)
    if options.captions:
        options.captions.write_text("\n".join([*new_captions(options.n), ""]), "utf-8")


if __name__ == "__main__":
    main()
