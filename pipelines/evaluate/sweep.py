"""The sweep: draw and inspect every model at every scale and seed, and real pictures."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.core.fingerprint import fingerprint
from pipelines.core.progress import Advance, Progress
from pipelines.evaluate.cache import CellStore
from pipelines.evaluate.given import given_source, z_of_data
from pipelines.evaluate.metrics.compare import (
    BASELINE,
    GIVEN,
    KALEIDO,
    MODELS,
    PARITY_CFG,
    RIVAL,
    WINDOW,
)
from pipelines.evaluate.metrics.variance_explained import TWINS, twins_of
from pipelines.evaluate.observe import Cell, Observed, PictureSource, join, observe, samples_of
from pipelines.evaluate.protocol import EvaluationProtocol
from pipelines.sample.bundle import Bundle, bundle_hash
from pipelines.sample.candidates import Checks
from pipelines.sample.choice import Decoding
from pipelines.sample.engine import Run
from pipelines.workspace.settings import SampleSettings

MOST_AT_ONCE = 64
"""Images drawn together, at most."""

Key = tuple[str, float]
"""A source and its guidance scale; 0 for real pictures."""


@dataclass(frozen=True)
class Plan:
    """What is compared: everything that decides the numbers, apart from the weights."""

    captions: tuple[str, ...]
    n: int
    cfg: tuple[float, ...]
    steps: int
    seeds: tuple[int, ...]
    decoding: Decoding
    checks: Checks
    cfg_begin: float
    cfg_end: float
    z_noise: float
    training: int

    def options(self, source: str, scale: float) -> SampleSettings:
        """How a source draws at a scale; each repetition has its own seed."""
        begin, end = WINDOW if source == RIVAL else (self.cfg_begin, self.cfg_end)
        return SampleSettings(
            n=self.n,
            cfg=scale,
            steps=self.steps,
            **asdict(self.decoding),
            **asdict(self.checks),
            cfg_begin=begin,
            cfg_end=end,
            z_noise=self.z_noise,
            batch_size=min(self.n, MOST_AT_ONCE),
        )


@dataclass(frozen=True)
class Seen:
    """Everything that an evaluation has seen.

    Attributes:
        pictures: Pictures of the models, and real ones.
        twins: Second pictures of some z, for models that draw one.
        training: Features of training pictures, (t, d), or None if there are none.
    """

    pictures: Mapping[Key, Observed]
    twins: Mapping[Key, Cell]
    training: np.ndarray | None


class Sweep:
    """Draw and inspect pictures, except where the store has a finished cell.

    Args:
        plan: What to draw.
        bundles: Models by name, all of one image size.
        protocol: Inspects pictures, and provides the real ones.
        store: Keeps finished cells.
        progress: Listener.
        run: Draws and looks: its tools are the bundles and an `Eye`.
    """

    def __init__(
        self,
        plan: Plan,
        bundles: Mapping[str, Bundle],
        protocol: EvaluationProtocol,
        store: CellStore,
        progress: Progress,
        run: Run,
    ) -> None:
        self._plan, self._bundles, self._protocol = plan, bundles, protocol
        self._store, self._progress, self._run = store, progress, run
        self._shape = next(iter(bundles.values())).diffusion.shapes[0]

    def run(self) -> Seen:
        """Fill all cells, in a fixed order, so that an interrupted run continues where it was."""
        pictures = self._pictures()
        pictures |= self._given(pictures)
        return Seen(pictures, self._twins(pictures), self._training())

    def _pictures(self) -> dict[Key, Observed]:
        sources, real = self._sources(), self._plan.seeds[: self._protocol.real_seeds]
        drawn = drawn_sources(self._plan, self._bundles)
        seeds = {key: self._plan.seeds if key in drawn else real for key in sources}
        total = sum(map(len, seeds.values())) * len(self._plan.captions)
        seen = {}
        with self._progress.task("evaluate", total, "caption") as advance:
            for (model, cfg), (source, metadata) in sources.items():
                label = f"{model} CFG {cfg:g}" if (model, cfg) in drawn else model
                noted = _noting(advance, label)
                cells = [
                    self._cell(f"{label} seed {seed}", source, metadata, seed, noted)
                    for seed in seeds[model, cfg]
                ]
                seen[model, cfg] = join(cells)
        return seen

    def _given(self, pictures: Mapping[Key, Observed]) -> dict[Key, Observed]:
        """Pictures from z of the data at the highest scale, with the noise of the prior's."""
        plan, real = self._plan, real_with_z(pictures)
        bundle = self._bundles.get(KALEIDO)
        z = [z_of_data(real, plan.captions, s, plan.n) for s in range(len(plan.seeds))]
        if bundle is None or not all(z):
            return {}
        scale = plan.cfg[-1]
        options, label = plan.options(KALEIDO, scale), f"{GIVEN} CFG {scale:g}"
        cells, total = [], len(plan.seeds) * len(plan.captions)
        with self._progress.task("z of the data", total, "caption") as advance:
            for texts, seed in zip(z, plan.seeds, strict=True):
                source = given_source(bundle.name, options, texts or {}, self._run)
                metadata = self._metadata(bundle, options) | {"given": fingerprint(texts)}
                cells.append(self._cell(f"{label} seed {seed}", source, metadata, seed, advance))
        return {(GIVEN, scale): join(cells)}

    def _cell(
        self,
        name: str,
        source: PictureSource,
        metadata: Mapping[str, Any],
        seed: int,
        advance: Advance,
    ) -> Cell:
        captions = self._plan.captions
        make = partial(observe, source, self._run, captions, seed, advance)
        file = name.replace(" ", "-").lower()
        cell, there = self._store.get(file, {**metadata, "seed": seed}, make)
        if there:
            advance(len(captions))
        return cell

    def _sources(self) -> dict[Key, tuple[PictureSource, dict[str, Any]]]:
        """Sources of pictures, with everything they depend on besides captions, n and seed."""
        sources: dict[Key, tuple[PictureSource, dict[str, Any]]] = {
            (purpose, 0.0): (source, {"real": purpose, "z": self._protocol.truth.metadata})
            for purpose, source in self._protocol.real(self._plan.n, self._shape).items()
        }
        for (name, scale), model in drawn_sources(self._plan, self._bundles).items():
            options = self._plan.options(name, scale)
            source = samples_of(model, options, self._run)
            sources[name, scale] = source, self._metadata(self._bundles[model], options)
        return sources

    def _metadata(self, bundle: Bundle, options: SampleSettings) -> dict[str, Any]:
        tokenizer = self._protocol.truth.tokenizer
        return {
            "model": bundle_hash(bundle),
            "options": asdict(options),
            "tokenizer": tokenizer.name if tokenizer and bundle.z_kinds else "",
        }

    def _twins(self, pictures: Mapping[Key, Observed]) -> dict[Key, Cell]:
        """Second pictures of the first z under the first seed, at each scale."""
        plan, seed = self._plan, self._plan.seeds[0]
        asked = [(m, scale) for m, b in self._bundles.items() if b.z_kinds for scale in plan.cfg]
        twins = {}
        total = len(asked) * len(plan.captions)
        with self._progress.task("second pictures", total, "caption") as advance:
            for model, scale in asked:
                drawn = pictures[model, scale].z
                z = {text: drawn[index][0] for index, text in enumerate(plan.captions)}
                bundle, label = self._bundles[model], f"{model} CFG {scale:g}"
                options = plan.options(model, scale)
                source = twins_of(model, options, z, self._run)
                metadata = self._metadata(bundle, options) | {"twins": TWINS}
                noted = _noting(advance, label)
                twins[model, scale] = self._cell(f"{label} twins", source, metadata, seed, noted)
        return twins

    def _training(self) -> np.ndarray | None:
        shown = self._protocol.training

        def make() -> Cell:
            with self._progress.task("training pictures", len(shown.groups), "group") as advance:
                return observe(shown.source(self._shape), self._run, shown.groups, 0, advance)

        if not shown.metadata:
            return None
        cell, _ = self._store.get("training", {"training": shown.metadata}, make)
        if not cell.features.size:  # all records are held out
            return None
        return cell.features.reshape(-1, cell.features.shape[-1])


def real_with_z(pictures: Mapping[Key, Observed]) -> Observed | None:
    """Return real pictures of the captions whose z are known; None if there are none."""
    sets = (pictures.get((purpose, 0.0)) for purpose in ("reference", "data"))
    return next((each for each in sets if each is not None and any(each.texts)), None)


def drawn_sources(plan: Plan, models: Container[str]) -> dict[Key, str]:
    """List what is drawn: each model at each scale, and the rival where two models are compared.

    The rival is the baseline with other guidance. Without guidance they are one, so it is not
    drawn there.

    Returns:
        Source and guidance scale -> the model that draws it.
    """
    drawn: dict[Key, str] = {}
    for model in MODELS:
        if model in models:
            drawn |= {(model, scale): model for scale in plan.cfg}
        if model == BASELINE and all(each in models for each in MODELS):
            guided = [scale for scale in plan.cfg if scale != PARITY_CFG]
            if (plan.cfg_begin, plan.cfg_end) != WINDOW:
                drawn |= {(RIVAL, scale): BASELINE for scale in guided}
    return drawn


def _noting(advance: Advance, label: str) -> Advance:
    return lambda n=1: advance(n, label)
