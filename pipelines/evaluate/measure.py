"""Metrics of one source of pictures against real ones, in a feature space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from pipelines.evaluate.adherence.kinds import adherence
from pipelines.evaluate.metrics.diversity import mss, unit, vendi
from pipelines.evaluate.metrics.feature_set import FeatureSet
from pipelines.evaluate.metrics.frechet import frechet_by_caption
from pipelines.evaluate.metrics.kernels import clip_gaussian, mmd_across_captions, mmd_by_caption
from pipelines.evaluate.metrics.manifolds import Balls, prdc
from pipelines.evaluate.metrics.plain_features import split
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed

DIVERSITY: dict[str, Callable[[np.ndarray], float]] = {
    "vendi": vendi,
    "vendi.infinity": partial(vendi, order=np.inf),
    "mss": mss,
}
"""Metric -> score of one caption's features (n, d)."""

LEAST_VALID = 2
"""A similarity needs two pictures: groups with fewer valid ones are skipped, and counted."""


def feature_distances(
    seen: Observed, reference: Observed, texts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compare pictures with real ones over all captions, where no judge is used.

    Args:
        seen: The pictures, n of each caption under each seed.
        reference: Real ones: m of each caption, m no more than n, under one seed.
        texts: Features of the captions in the same space, (captions, d), if there are any.

    Returns:
        Estimates by metric. ``frechet`` and ``mmd`` (and ``cmmd`` with texts) compare all pictures
        with the real ones; ``precision``, ``recall``, ``density`` and ``coverage.real``, which
        depend on numbers, m of each caption with m real ones, on average.
    """
    drawn, real = seen.by_caption, reference.by_caption
    values = {
        "frechet": frechet_by_caption(FeatureSet(drawn).moments, reference.feature_set.moments),
        "mmd": mmd_across_captions(drawn, real),
    }
    if texts is not None:
        values["cmmd"] = mmd_across_captions(unit(drawn), unit(real), clip_gaussian)
    return _of_captions(values, seen.features.shape[1]) | _shares_in_blocks(seen, reference)


def feature_metrics(
    seen: Observed, reference: Observed, texts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Measure pictures caption by caption, where no judge is used.

    Args:
        seen: As in `feature_distances`.
        reference: As in `feature_distances`.
        texts: As in `feature_distances`.

    Returns:
        Estimates by metric: ``vendi``, ``vendi.infinity``, ``mss`` and `plain_diversity`, where a
        caption has two pictures, ``edges``, and `adherence`. ``clip``: 100 times the cosine of
        picture and caption, where positive (CLIPScore, 2104.08718, without its factor of 2.5).
    """
    estimates = {"edges": edge_ratio(seen, reference)}
    if texts is not None:
        cosines = np.einsum("csnd,cd->csn", unit(seen.features), unit(texts))
        estimates["clip"] = Estimate.mean_of(100.0 * cosines.clip(min=0.0).mean(2))
    if seen.features.shape[2] >= LEAST_VALID:
        for name, score in DIVERSITY.items():
            estimates[name] = by_groups(seen, score)
        estimates |= plain_diversity(seen)
    return estimates | adherence(seen)


def edge_ratio(seen: Observed, reference: Observed) -> Estimate:
    """Edge energy of pictures over that of real ones.

    A ratio of means: the mean of ratios to the noisy energy of a few pictures would be too high.
    The table holds each caption's and seed's contribution to the ratio, to first order.
    """
    drawn, real = seen.edges.mean(2), reference.edges.mean(axis=(1, 2))
    ratio = drawn.mean() / real.mean()
    return Estimate.mean_of(ratio + (drawn - ratio * real[:, None]) / real.mean())


def set_metrics(seen: Observed, reference: Observed) -> dict[str, Estimate]:
    """Compare pictures with as many real ones, over all captions.

    Returns:
        ``frechet``, ``mmd``, ``precision``, ``recall``, ``density`` and ``coverage.real``.
    """
    captions, seeds = seen.features.shape[:2]
    drawn, real = FeatureSet(seen.by_caption), reference.feature_set
    distances = {
        "frechet": frechet_by_caption(drawn.moments, real.moments),
        "mmd": mmd_by_caption(drawn.kernel_means, real.kernel_means),
    }
    shares = _shares(drawn.balls, real.balls)
    return _of_captions(distances, seeds) | {
        name: Estimate.mean_of(points.reshape(captions, seeds, -1).mean(2))
        for name, points in shares.items()
    }


def plain_diversity(seen: Observed) -> dict[str, Estimate]:
    """Measure diversity in feature spaces without a network, see `plain_features`.

    Returns:
        ``vendi.SPACE`` and ``mss.SPACE`` for each space; nothing where a caption has one picture.
    """
    if seen.plain.shape[2] < LEAST_VALID:
        return {}
    values = {}
    for space, rows in split(seen.plain).items():
        for name, score in (("vendi", vendi), ("mss", mss)):
            values[f"{name}.{space}"] = Estimate.mean_of(
                np.array([[score(group) for group in by_seed] for by_seed in rows])
            )
    return values


def by_groups(seen: Observed, score: Callable[[np.ndarray], float]) -> Estimate:
    """Average a score of features (n, d) over captions and seeds."""
    return seen.by_group(lambda c, s: score(seen.features[c, s]))


def _of_captions(values: Mapping[str, tuple[float, np.ndarray]], seeds: int) -> dict[str, Estimate]:
    return {name: Estimate.of_captions(*value, seeds) for name, value in values.items()}


def _shares_in_blocks(seen: Observed, reference: Observed) -> dict[str, Estimate]:
    """Split the pictures into blocks of m and average precision, recall, density and coverage.

    Args:
        seen: n of each caption under each seed.
        reference: m of each caption in all, m no more than n.
    """
    captions, seeds, n, d = seen.features.shape
    m = reference.by_caption.shape[1]
    tables: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        drawn = [seen.features[:, seed, start : start + m] for start in range(0, n - m + 1, m)]
        blocks = [
            _shares(Balls.around(rows.reshape(-1, d)), reference.feature_set.balls)
            for rows in drawn
        ]
        for name in blocks[0]:
            points = np.mean([block[name].reshape(captions, m).mean(1) for block in blocks], axis=0)
            tables.setdefault(name, []).append(points)
    return {name: Estimate.mean_of(np.stack(parts, axis=1)) for name, parts in tables.items()}


def _shares(drawn: Balls, real: Balls) -> dict[str, np.ndarray]:
    """Metrics that are means over points: metric -> a value for each point."""
    scores = prdc(real, drawn)
    return {
        "precision": scores.precise,
        "recall": scores.recalled,
        "density": scores.density,
        "coverage.real": scores.covered,
    }
