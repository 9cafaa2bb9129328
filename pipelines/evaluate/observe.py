"""Looking at pictures, caption by caption, and keeping only what the metrics need of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.core.progress import Advance
from pipelines.evaluate.fidelity import edge_energy
from pipelines.evaluate.judge import Judge, Verdict
from pipelines.evaluate.reference import reference_images
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import DrawOptions, draw

Source = Callable[[str, int], tuple[list[str], np.ndarray]]
"""(caption, seed) -> the z of each picture as text ("" for none), uint8 (n, side, side, 3)."""


@dataclass(frozen=True)
class Observed:
    """What was seen of one source of pictures.

    Attributes:
        features: float32 (captions, seeds, n, d).
        verdicts: By caption and seed, one a picture.
        z: By caption and seed, one text a picture.
        edges: Edge energy of each picture, (captions, seeds, n).
        shown: Pictures of the first captions under the first seed, uint8 (k, side, side, 3) each,
            not chosen but the first k: the report's grids.
    """

    features: np.ndarray
    verdicts: list[list[list[Verdict]]]
    z: list[list[list[str]]]
    edges: np.ndarray
    shown: list[np.ndarray] = field(default_factory=list)


def observe(
    source: Source,
    judge: Judge,
    captions: Sequence[str],
    seeds: Sequence[int],
    shown: tuple[int, int] = (0, 0),
    advance: Advance = lambda n=1, note="": None,
) -> Observed:
    """Draw and judge every caption under every seed; pictures are dropped once judged.

    Args:
        source: Gives the pictures.
        judge: Sees them.
        captions: What to draw.
        seeds: Repetitions.
        shown: Captions, and pictures of each, to keep for the report.
        advance: Told of each finished group of pictures.
    """
    features, verdicts, texts, edges = [], [], [], []
    kept: list[np.ndarray] = []
    for number, caption in enumerate(captions):
        cells = []
        for repeat, seed in enumerate(seeds):
            z, images = source(caption, seed)
            cells.append((judge.features(images), judge(images), z, edge_energy(images)))
            if repeat == 0 and number < shown[0]:
                kept.append(images[: shown[1]].copy())
            advance(len(images))
        columns = list(zip(*cells, strict=True))
        features.append(columns[0])
        verdicts.append(list(columns[1]))
        texts.append(list(columns[2]))
        edges.append(columns[3])
    return Observed(np.array(features), verdicts, texts, np.array(edges), kept)


def samples_of(bundle: Bundle, options: DrawOptions) -> Source:
    """Samples of a model; the seed of `options` gives way to each repetition's."""

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        samples = list(draw(bundle, caption, replace(options, seed=seed)))
        return [item.z for item in samples], np.stack([item.pixels for item in samples])

    return source


def real_of(n: int, purpose: str, size: int = 64) -> Source:
    """Real pictures of `size` pixels: ``reference``, or ``data`` for an independent second set."""

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        return [""] * n, reference_images(caption, n, seed, purpose, size)

    return source
