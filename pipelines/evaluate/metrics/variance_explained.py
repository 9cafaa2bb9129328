"""Measure the share of the variance of a caption's pictures that z explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Cell, Observed, Pictures, PictureSource
from pipelines.sample.engine import Run
from pipelines.sample.jobs import DrawAgain
from pipelines.workspace.settings import SampleSettings

TWINS = 4
"""Number of z per caption that are drawn a second time: the first ones under the first seed."""


def twins_of(
    model: str, options: SampleSettings, z: Mapping[str, list[str]], run: Run
) -> PictureSource:
    """Draw second pictures of the same z from different noise.

    Args:
        model: Name of the bundle that drew the first pictures.
        options: The options that it drew them with.
        z: z by caption, in the order of the pictures; as many of each.
        run: Draws; the bundle is one of its tools.
    """

    def source(captions: Sequence[str], seed: int) -> Iterator[Pictures]:
        texts = [z[caption][:TWINS] for caption in captions]
        settings = replace(options, seed=seed)
        drawn = run(
            DrawAgain(model, caption, tuple(each), settings)
            for caption, each in zip(captions, texts, strict=True)
        )
        for each in texts:
            yield each, np.stack(list(islice(drawn, len(each))))

    return source


def explained(seen: Observed, twins: Cell) -> Estimate:
    """Compute the share of feature variance that z explains: 1 - E[Var(x|z,c)] / E[Var(x|c)].

    Half the squared distance between two pictures of one z is the mean square within z, and the
    sample variance over pictures of different z is the variance given the caption. Both are
    unbiased, so their difference is the between-z variance component of a random-effects ANOVA, and
    the share is the intraclass correlation (Searle et al., Variance Components, 1992, chapter 3).
    It is 0 in expectation if the model ignores z, and 1 if z determines the picture. Both terms are
    summed over features and captions before the division; the remaining bias is of order 1 over the
    number of twins. NaN if all pictures are equal.

    Args:
        seen: Pictures, each with its own z.
        twins: Second pictures of the first z under the first seed.
    """
    first, second = (np.asarray(x, np.float64) for x in (seen.features[:, 0], twins.features))
    pairs = first[:, : second.shape[1]] - second
    within = np.square(pairs).sum(2).mean(1) / 2.0
    captions, seeds, n, d = seen.features.shape
    apart = seen.features.reshape(captions, seeds * n, d).astype(np.float64)
    whole = apart.var(1, ddof=1).sum(1)
    value = float(_share(within.sum(), whole.sum()))
    pseudo = np.full(captions, value)
    if captions > 1:
        without = _share(within.sum() - within, whole.sum() - whole)
        pseudo = captions * value - (captions - 1) * without
    pictures = captions * (seeds * n + second.shape[1])
    return replace(Estimate.of_captions(value, pseudo, seeds), pictures=pictures)


def _share(within: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Compute 1 - within / whole; NaN if all pictures are equal."""
    left = np.divide(within, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0.0)
    return 1.0 - left
