"""Looking at pictures, caption by caption, and keeping only what the metrics need of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pipelines.core.progress import Advance
from pipelines.evaluate.adherence.colours import colour_fits
from pipelines.evaluate.adherence.palettes import palette_fits
from pipelines.evaluate.adherence.tokens import Retokenizer
from pipelines.evaluate.metrics.edges import edge_energy
from pipelines.evaluate.metrics.feature_set import FeatureSet
from pipelines.evaluate.metrics.plain_features import plain_features
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observations import Verdict
from pipelines.latents.base import Latent
from pipelines.latents.text import marker
from pipelines.latents.tokens import Tokens
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import Sample
from pipelines.sample.engine import DrawEach
from pipelines.workspace.settings import SampleSettings

PictureSource = Callable[[str, int], tuple[list[str], np.ndarray]]
"""(caption, seed) -> the z of each picture as text ("" for none), uint8 (n, side, side, 3)."""

Inspect = Callable[[np.ndarray, Sequence[str]], tuple[np.ndarray, list[Verdict]]]
"""uint8 (n, height, width, 3) and the z of each picture -> features, float32 (n, d), and verdicts;
no verdicts where nothing judges."""

SHOWN = (6, 8)
"""Captions in the report's grids, and pictures of each."""


def _no_features() -> np.ndarray:
    return np.zeros((0, 0, 0, 0), np.float32)


@dataclass(frozen=True)
class Cell:
    """What was seen of one source's pictures under one seed.

    Attributes:
        features: float32 (captions, n, d).
        verdicts: By caption, one a picture; none where nothing judges.
        z: By caption, one text a picture.
        edges: Edge energy of each picture, (captions, n).
        colours: How well each picture keeps to its palette, (captions, n, 6), see `palette_fits`.
        ids: Its tokens, int32 (captions, n, 2, cells), see `Retokenizer.read`; no cells where z
            has no tokens, or nothing reads them.
        shown: uint8 (k, m, side, side, 3), the first pictures of the first captions (`SHOWN`):
            the report's grids. They are not chosen.
        plain: Features without a network, float32 (captions, n, d), see `plain_features`.
        tints: How well its elements keep their colours, (captions, n, 3), see `colour_fits`.
    """

    features: np.ndarray
    verdicts: list[list[Verdict]]
    z: list[list[str]]
    edges: np.ndarray
    colours: np.ndarray
    ids: np.ndarray
    shown: np.ndarray
    plain: np.ndarray = field(default_factory=_no_features)
    tints: np.ndarray = field(default_factory=_no_features)


@dataclass(frozen=True)
class Observed:
    """What was seen of one source of pictures.

    Attributes:
        features: float32 (captions, seeds, n, d).
        verdicts: By caption and seed, one a picture.
        z: By caption and seed, one text a picture.
        edges: Edge energy of each picture, (captions, seeds, n).
        colours: As in `Cell`, (captions, seeds, n, 6).
        ids: As in `Cell`, int32 (captions, seeds, n, 2, cells).
        shown: Of the first seed, as in `Cell`.
        plain: As in `Cell`, float32 (captions, seeds, n, d).
        tints: As in `Cell`, (captions, seeds, n, 3).
    """

    features: np.ndarray
    verdicts: list[list[list[Verdict]]]
    z: list[list[list[str]]]
    edges: np.ndarray
    colours: np.ndarray
    ids: np.ndarray
    shown: np.ndarray
    plain: np.ndarray = field(default_factory=_no_features)
    tints: np.ndarray = field(default_factory=_no_features)

    @property
    def texts(self) -> list[str]:
        """Every z."""
        return [z for by_seed in self.z for group in by_seed for z in group]

    @property
    def by_caption(self) -> np.ndarray:
        """Features of each caption's pictures, under all seeds: (captions, seeds * n, d)."""
        captions, _, _, d = self.features.shape
        return self.features.reshape(captions, -1, d)

    @cached_property
    def feature_set(self) -> FeatureSet:
        """Kept, with all that is computed of it: meant for the reference, compared with many."""
        return FeatureSet(self.by_caption)

    def by_group(
        self, function: Callable[[int, int], float], counts: np.ndarray | None = None
    ) -> Estimate:
        """Average a function of caption's and seed's number over all of them.

        Args:
            function: Its value of a group, the pictures of a caption under one seed.
            counts: (captions, seeds), pictures behind each value, where that is not all of them.
        """
        captions, seeds = self.features.shape[:2]
        table = [[function(c, s) for s in range(seeds)] for c in range(captions)]
        return Estimate.mean_of(np.array(table), counts)


def observe(
    source: PictureSource,
    inspect: Inspect,
    captions: Sequence[str],
    seed: int,
    advance: Advance = lambda n=1, note="": None,
    tokenizer: Retokenizer | None = None,
) -> Cell:
    """Draw and see every caption; pictures are dropped once seen, but for those to show.

    Args:
        source: Gives the pictures.
        inspect: Computes their features and verdicts.
        captions: What to draw.
        seed: Of the pictures.
        advance: Told of each finished caption.
        tokenizer: Reads the tokens of pictures whose z has some.
    """
    features, verdicts, edges, colours, tints, ids, plain = [], [], [], [], [], [], []
    texts: list[list[str]] = []
    shown: list[np.ndarray] = []
    for caption in captions:
        z, images = source(caption, seed)
        rows, judged = inspect(images, z)
        features.append(rows)
        verdicts.append(judged)
        edges.append(edge_energy(images))
        plain.append(plain_features(images))
        colours.append(palette_fits(z, images, texts[-1] if texts else ()))
        tints.append(colour_fits(z, images, texts[-1] if texts else ()))
        if tokenizer and _has(z, Tokens):
            ids.append(tokenizer.read(images, z))
        else:
            ids.append(np.zeros((len(images), 2, 0), np.int32))
        texts.append(z)
        if len(shown) < SHOWN[0]:
            shown.append(images[: SHOWN[1]].copy())
        advance(1)
    arrays = (np.array(values) for values in (edges, colours, ids, shown, plain, tints))
    return Cell(np.array(features), verdicts, texts, *arrays)


def _has(texts: Sequence[str], kind: type[Latent]) -> bool:
    return any(marker(kind.kind) in text for text in texts)


def join(cells: Sequence[Cell]) -> Observed:
    """Put one source's cells together, one a seed."""
    return Observed(
        np.stack([cell.features for cell in cells], axis=1),
        [list(group) for group in zip(*(cell.verdicts for cell in cells), strict=True)],
        [list(group) for group in zip(*(cell.z for cell in cells), strict=True)],
        np.stack([cell.edges for cell in cells], axis=1),
        np.stack([cell.colours for cell in cells], axis=1),
        np.stack([cell.ids for cell in cells], axis=1),
        cells[0].shown,
        np.stack([cell.plain for cell in cells], axis=1),
        np.stack([cell.tints for cell in cells], axis=1),
    )


def samples_of(
    bundle: Bundle, options: SampleSettings, captions: Sequence[str], draw: DrawEach
) -> PictureSource:
    """Samples of a model; the seed of `options` gives way to each repetition's.

    Args:
        bundle: The model.
        options: How it draws.
        captions: What will be asked for under each seed, in this order: they are drawn ahead.
        draw: Draws them.
    """
    drawn: dict[int, Iterator[Iterator[Sample]]] = {}

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        if seed not in drawn:
            drawn[seed] = draw(bundle, captions, replace(options, seed=seed))
        samples = list(next(drawn[seed]))
        assert samples[0].caption == caption, "captions are asked for in order"
        return [item.z for item in samples], np.stack([item.pixels for item in samples])

    return source
