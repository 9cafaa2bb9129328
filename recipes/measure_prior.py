"""Measure a prior of scenes: whether its z parse, agree with the caption, and differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pipelines.core.seeds import derive, generator
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.adherence.boxes import agrees, parses
from pipelines.latents.vocabulary import encode_z
from pipelines.models.device import compute_device
from pipelines.models.prior import Prior
from pipelines.sample.decode import ROWS, draw_z
from pipelines.scenes.captions import caption_scene
from pipelines.scenes.factors import sample_scene
from pipelines.scenes.reference import asked_shapes


def main() -> None:
    """Measure the shipped prior, or the prior in a folder, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "prior")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(Prior.load(options.folder), options.seed, options.draws), indent=1))


def measure(prior: Prior, seed: int, draws: int) -> dict[str, float]:
    """Draw z for captions of held-out scenes, one decoding batch per caption.

    Returns:
        ``parse``: share of z that parse; ``agree``: share whose boxes have the captioned shapes
        and counts; ``distinct``: share of distinct z per caption; ``tokens``: mean length;
        ``draws``: number of z.
    """
    prior.model.to(compute_device())
    kept: dict[str, list[float]] = {"parse": [], "agree": [], "distinct": [], "tokens": []}
    for caption in captions(seed, max(draws // ROWS, 1)):
        with torch.inference_mode():
            encoded = prior.encode([caption])
        seeds = [derive(seed, "measure prior", f"{index}:{caption}") for index in range(ROWS)]
        texts = draw_z(prior, encoded, prior.z_kinds, seeds)
        asked = asked_shapes(caption)
        kept["parse"] += [parses(text) for text in texts]
        kept["agree"] += [agrees(text, asked) for text in texts]
        kept["distinct"].append(len(set(texts)) / len(texts))
        kept["tokens"] += [len(encode_z(prior.tokenizer, text)) for text in texts]
    means = {name: float(np.mean(values)) for name, values in kept.items()}
    return {**means, "draws": len(kept["parse"])}


def captions(seed: int, count: int) -> Iterator[str]:
    """Return distinct captions of scenes of held-out combinations."""
    seen: set[str] = set()
    rng = generator(seed, "measure prior", "captions")
    while len(seen) < count:
        scene = sample_scene(rng)
        caption = caption_scene(scene, rng)
        if scene.split == "heldout" and caption not in seen:
            seen.add(caption)
            yield caption


if __name__ == "__main__":
    main()
