"""How much of the variance of a caption's pictures z explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Cell, Observed, PictureSource
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import draw_again
from pipelines.workspace.settings import SampleSettings

TWINS = 4
"""z of a caption that are drawn a second time, those of its first pictures under the first seed."""


def twins_of(bundle: Bundle, options: SampleSettings, z: Mapping[str, list[str]]) -> PictureSource:
    """Second pictures of the same z, from other noise.

    Args:
        bundle: The model that drew the first ones.
        options: As it drew them.
        z: By caption, in the order of the pictures.
    """

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        texts = z[caption][:TWINS]
        return texts, draw_again(bundle, caption, texts, replace(options, seed=seed))

    return source


def explained(seen: Observed, twins: Cell) -> Estimate:
    """Share of the variance in feature space that z explains: 1 - E[Var(x|z,c)] / E[Var(x|c)].

    Half the squared distance of two pictures of one z is the mean square within a z, and the
    sample variance of pictures of different z is the variance of the caption's. Both are unbiased,
    so their difference is what an analysis of variance with random effects gives for the variance
    between z, and the share is its intraclass correlation (Searle et al., Variance Components,
    1992, chapter 3). It is 0, and by chance below, for a z that is not heeded, and 1 for one that
    decides the picture. Both are summed over features and captions before one is divided by the
    other; what bias remains is of the order of 1 over the number of twins. NaN where all pictures
    are alike.

    Args:
        seen: The pictures, each of a z of its own.
        twins: Second pictures of the first z of the first seed.
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
    """1 - within / whole; NaN where all pictures are alike."""
    left = np.divide(within, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0.0)
    return 1.0 - left
