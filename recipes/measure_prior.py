"""Measure a prior of scenes: whether its z parse, agree with the caption, and differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.core.seeds import derive, generator
from pipelines.core.text_measures import loops, words
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.adherence.boxes import agrees, parses
from pipelines.latents.vocabulary import encode_z
from pipelines.models.device import compute_device
from pipelines.models.prior import Prior
from pipelines.sample.candidates import Wanted, draw_sound_z
from pipelines.sample.decode import ROWS, draw_z
from pipelines.scenes.captions import caption_scene
from pipelines.scenes.factors import sample_scene
from pipelines.scenes.reference import asked_shapes
from pipelines.workspace.settings import SampleSettings


def main() -> None:
    """Measure the shipped prior, or the prior in a folder, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "prior")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--z", help="kinds of z, with commas; by default all")
    parser.add_argument("--sound", action="store_true", help="the z that `kaleido sample` takes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior = Prior.load(options.folder)
    kinds = options.z.split(",") if options.z else None
    print(json.dumps(measure(prior, options.seed, options.draws, kinds, options.sound), indent=1))


def measure(
    prior: Prior, seed: int, draws: int, kinds: Sequence[str] | None = None, sound: bool = False
) -> dict[str, float]:
    """Draw z for captions of held-out scenes, one decoding batch per caption.

    Args:
        prior: The prior.
        seed: Of captions and draws.
        draws: How many z, about.
        kinds: Kinds of z in order; None for all.
        sound: Take the first sound one of the usual number of candidates, not the first.

    Returns:
        ``parse``: share of z that parse; ``agree``: share whose boxes have the captioned shapes
        and counts; ``distinct``: share of distinct z per caption; ``loops``: share that end in a
        loop; ``tokens``: mean length; ``draws``: number of z.
    """
    prior.model.to(compute_device())
    names = ("parse", "agree", "distinct", "loops", "tokens")
    kept: dict[str, list[float]] = {name: [] for name in names}
    for caption in captions(seed, max(draws // ROWS, 1)):
        texts = _draw(prior, caption, seed, kinds or prior.z_kinds, sound)
        asked = asked_shapes(caption)
        kept["parse"] += [parses(text) for text in texts]
        kept["agree"] += [agrees(text, asked) for text in texts]
        kept["distinct"].append(len(set(texts)) / len(texts))
        kept["loops"] += [loops(words(text)) for text in texts]
        kept["tokens"] += [len(encode_z(prior.tokenizer, text)) for text in texts]
    means = {name: float(np.mean(values)) for name, values in kept.items()}
    return {**means, "draws": len(kept["parse"])}


def _draw(prior: Prior, caption: str, seed: int, kinds: Sequence[str], sound: bool) -> list[str]:
    with torch.inference_mode():
        encoded = prior.encode([caption])
    if sound:
        wanted = [Wanted(caption, encoded, number) for number in range(ROWS)]
        drawn = draw_sound_z(prior, wanted, kinds, SampleSettings(seed=seed))
        return [each.text for each in drawn]
    seeds = [derive(seed, "measure prior", f"{index}:{caption}") for index in range(ROWS)]
    return draw_z(prior, encoded, kinds, seeds)


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
