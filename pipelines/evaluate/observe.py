"""Looking at pictures, caption by caption, and keeping only what the metrics need of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.core.progress import Advance
from pipelines.evaluate.colours import palette_fits
from pipelines.evaluate.fidelity import edge_energy
from pipelines.evaluate.judge import Verdict
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import DrawOptions, draw

Source = Callable[[str, int], tuple[list[str], np.ndarray]]
"""(caption, seed) -> the z of each picture as text ("" for none), uint8 (n, side, side, 3)."""

Look = Callable[[np.ndarray], tuple[np.ndarray, list[Verdict]]]
"""uint8 (n, height, width, 3) -> features, float32 (n, d), and verdicts, if anything judges."""

SHOWN = (6, 8)
"""Captions in the report's grids, and pictures of each."""


@dataclass(frozen=True)
class Cell:
    """What was seen of one source's pictures under one seed.

    Attributes:
        features: float32 (captions, n, d).
        verdicts: By caption, one a picture; none where nothing judges.
        z: By caption, one text a picture.
        edges: Edge energy of each picture, (captions, n).
        colours: How well each picture keeps to its palette, (captions, n, 4), see `palette_fits`.
        shown: uint8 (k, m, side, side, 3), the first pictures of the first captions (`SHOWN`):
            the report's grids. They are not chosen.
    """

    features: np.ndarray
    verdicts: list[list[Verdict]]
    z: list[list[str]]
    edges: np.ndarray
    colours: np.ndarray
    shown: np.ndarray


@dataclass(frozen=True)
class Observed:
    """What was seen of one source of pictures.

    Attributes:
        features: float32 (captions, seeds, n, d).
        verdicts: By caption and seed, one a picture.
        z: By caption and seed, one text a picture.
        edges: Edge energy of each picture, (captions, seeds, n).
        colours: As in `Cell`, (captions, seeds, n, 4).
        shown: Of the first seed, as in `Cell`.
    """

    features: np.ndarray
    verdicts: list[list[list[Verdict]]]
    z: list[list[list[str]]]
    edges: np.ndarray
    colours: np.ndarray
    shown: np.ndarray


def observe(
    source: Source,
    look: Look,
    captions: Sequence[str],
    seed: int,
    advance: Advance = lambda n=1, note="": None,
) -> Cell:
    """Draw and see every caption; pictures are dropped once seen, but for those to show.

    Args:
        source: Gives the pictures.
        look: Sees them.
        captions: What to draw.
        seed: Of the pictures.
        advance: Told of each finished caption.
    """
    features, verdicts, texts, edges, colours = [], [], [], [], []
    shown: list[np.ndarray] = []
    for caption in captions:
        z, images = source(caption, seed)
        rows, judged = look(images)
        features.append(rows)
        verdicts.append(judged)
        texts.append(z)
        edges.append(edge_energy(images))
        colours.append(palette_fits(z, images))
        if len(shown) < SHOWN[0]:
            shown.append(images[: SHOWN[1]].copy())
        advance(1)
    arrays = (np.array(values) for values in (edges, colours, shown))
    return Cell(np.array(features), verdicts, texts, *arrays)


def join(cells: Sequence[Cell]) -> Observed:
    """Put one source's cells together, one a seed."""
    return Observed(
        np.stack([cell.features for cell in cells], axis=1),
        [list(group) for group in zip(*(cell.verdicts for cell in cells), strict=True)],
        [list(group) for group in zip(*(cell.z for cell in cells), strict=True)],
        np.stack([cell.edges for cell in cells], axis=1),
        np.stack([cell.colours for cell in cells], axis=1),
        cells[0].shown,
    )


def samples_of(bundle: Bundle, options: DrawOptions) -> Source:
    """Samples of a model; the seed of `options` gives way to each repetition's."""

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        samples = list(draw(bundle, caption, replace(options, seed=seed)))
        return [item.z for item in samples], np.stack([item.pixels for item in samples])

    return source
