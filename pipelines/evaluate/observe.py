"""Looking at pictures, caption by caption, and keeping only what the metrics need of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.core.progress import SILENT, Advance
from pipelines.evaluate.adherence.colours import colour_fits
from pipelines.evaluate.adherence.palettes import palette_fits
from pipelines.evaluate.adherence.tokens import Retokenizer, retokenizer, shipped_retokenizer
from pipelines.evaluate.metrics.edges import edge_energy
from pipelines.evaluate.metrics.feature_set import FeatureSet
from pipelines.evaluate.metrics.plain_features import plain_features
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observations import Verdict
from pipelines.latents.base import Latent
from pipelines.latents.text import marker
from pipelines.latents.tokens import Tokens
from pipelines.sample.engine import Loadable, Run, require_same, run_here
from pipelines.sample.jobs import jobs_of, name_of
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace

Pictures = tuple[list[str], np.ndarray]
"""The z of each picture of a caption as text ("" for none), and uint8 (n, side, side, 3)."""

PictureSource = Callable[[Sequence[str], int], Iterator[Pictures]]
"""(captions, seed) -> the pictures of each caption."""

Inspect = Callable[[np.ndarray, Sequence[str]], tuple[np.ndarray, list[Verdict]]]
"""uint8 (n, height, width, 3) and the z of each picture -> features, float32 (n, d), and verdicts;
no verdicts where nothing judges."""

EYE = "eye"
"""Name of the tool that looks at pictures."""

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


@dataclass(frozen=True)
class Eye:
    """What pictures are looked at with.

    Attributes:
        inspect: Computes their features and verdicts.
        tokenizer: Reads the tokens of pictures whose z has some.
    """

    inspect: Inspect
    tokenizer: Retokenizer | None = None

    def run(self) -> Run:
        """Return what runs jobs of `Look` in this process."""
        return run_here({EYE: self})


@dataclass(frozen=True)
class SameEye:
    """Loads an eye on another machine.

    Attributes:
        inspect: Loads what inspects.
        tokenizer: Name of the driver's tokenizer; empty if there is none.
        is_shipped: Whether that is the embedded one.
    """

    inspect: Loadable
    tokenizer: str
    is_shipped: bool

    def load(self, workspace: Workspace) -> Eye:
        """Load it.

        Raises:
            KaleidoError: If something is missing, or another one than the driver's.
        """
        if not self.tokenizer:
            return Eye(self.inspect.load(workspace))
        found = shipped_retokenizer() if self.is_shipped else retokenizer(workspace, SILENT)
        require_same("tokenizers", found and found.name, self.tokenizer)
        return Eye(self.inspect.load(workspace), found)


@dataclass(frozen=True)
class Look:
    """A `pipelines.sample.engine.Job` that looks at the pictures of a caption.

    Attributes:
        caption: The caption.
        z: The z of each picture.
        images: The pictures.
        before: The z of another caption, which pictures should fit less well.
    """

    caption: str
    z: list[str]
    images: np.ndarray
    before: list[str]

    @property
    def name(self) -> str:
        """The caption."""
        return name_of(self.caption)

    def run(self, tools: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what is seen, once: values of a caption by the names of fields of `Cell`."""
        eye: Eye = tools[EYE]
        z, images = self.z, self.images
        ids = np.zeros((len(images), 2, 0), np.int32)
        if eye.tokenizer and _has(z, Tokens):
            ids = eye.tokenizer.read(images, z)
        features, verdicts = eye.inspect(images, z)
        yield {
            "features": features,
            "verdicts": verdicts,
            "z": z,
            "edges": edge_energy(images),
            "colours": palette_fits(z, images, self.before),
            "ids": ids,
            "plain": plain_features(images),
            "tints": colour_fits(z, images, self.before),
        }


def observe(
    source: PictureSource,
    run: Run,
    captions: Sequence[str],
    seed: int,
    advance: Advance = lambda n=1, note="": None,
) -> Cell:
    """Draw and see every caption; pictures are dropped once seen, but for those to show.

    Args:
        source: Gives the pictures.
        run: Looks at them; one of its tools is an `Eye`.
        captions: What to draw.
        seed: Of the pictures.
        advance: Told of each finished caption.
    """
    shown: list[np.ndarray] = []

    def jobs() -> Iterator[Look]:
        before: list[str] = []
        for caption, (z, images) in zip(captions, source(captions, seed), strict=True):
            if len(shown) < SHOWN[0]:
                shown.append(images[: SHOWN[1]].copy())
            yield Look(caption, z, images, before)
            before = z

    seen: dict[str, list[Any]] = {each.name: [] for each in fields(Cell)}
    for found in run(jobs()):
        for name, value in found.items():
            seen[name].append(value)
        advance(1)
    seen["shown"] = shown
    lists = ("verdicts", "z")
    values: dict[str, Any] = {n: each if n in lists else np.array(each) for n, each in seen.items()}
    return Cell(**values)


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


def samples_of(model: str, options: SampleSettings, run: Run) -> PictureSource:
    """Samples of a model; the seed of `options` gives way to each repetition's.

    Args:
        model: Name of the bundle.
        options: How it draws.
        run: Draws; the bundle is one of its tools.
    """

    def source(captions: Sequence[str], seed: int) -> Iterator[Pictures]:
        drawn = run(jobs_of(model, captions, replace(options, seed=seed)))
        for samples in in_batches(drawn, options.n):
            yield [item.z for item in samples], np.stack([item.pixels for item in samples])

    return source
