"""All metrics of one source of pictures against the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from pipelines.evaluate.adherence.boxes import agrees, same_count, same_shapes
from pipelines.evaluate.adherence.kinds import adherence
from pipelines.evaluate.metrics.diversity import mss, unit, vendi
from pipelines.evaluate.metrics.feature_set import FeatureSet
from pipelines.evaluate.metrics.frechet import frechet_by_caption
from pipelines.evaluate.metrics.kernels import clip_gaussian, mmd_across_captions, mmd_by_caption
from pipelines.evaluate.metrics.manifolds import Balls, prdc
from pipelines.evaluate.metrics.statistics import Estimate, combine
from pipelines.evaluate.metrics.z_texts import text_metrics
from pipelines.evaluate.observe import Observed
from pipelines.latents.text import marker
from pipelines.scenes.judge import Verdict
from pipelines.scenes.modes import (
    FACTORS,
    entropy_of_as_many,
    matches,
    mode_coverage,
    mode_entropy,
)
from pipelines.scenes.oracle import FactorValues, factor_values, known_values
from pipelines.scenes.reference import Asked

Groups = Sequence[Sequence[Sequence[Verdict]]]
"""Verdicts by caption and seed."""

DIVERSITY: dict[str, Callable[[np.ndarray], float]] = {
    "vendi": vendi,
    "vendi.infinity": partial(vendi, order=np.inf),
    "mss": mss,
}
"""Metric -> score of one caption's features (n, d)."""

LEAST_VALID = 2
"""A similarity needs two pictures: groups with fewer valid ones are skipped, and counted."""


def measure(
    seen: Observed, reference: Observed, asked: Sequence[Asked], ceiling: float
) -> dict[str, Estimate]:
    """Measure pictures.

    Args:
        seen: The pictures, n of each caption under each seed, n of 2 or more.
        reference: Real ones, as many.
        asked: What each caption asks for.
        ceiling: Share of real boxes that the judge finds with the right shape, above 0.

    Returns:
        Estimates by metric. Over all pictures together: ``frechet``, ``mmd``, ``precision``,
        ``recall``, ``density``, ``coverage.real``. Over the n pictures of a caption under one
        seed: ``vendi``, ``vendi.infinity``, ``mss``, ``edges`` (edge energy over that of real
        pictures) and ``caption`` (share that shows exactly the captioned objects, in the colours
        that the caption states: the valid ones). Over the valid ones among them: ``vendi.valid``
        and the like, ``entropy.FACTOR`` (nats), ``entropy.FACTOR.real`` (what as many real
        pictures have) and ``coverage.FACTOR``; these say how many pictures they used and skip
        groups with too few. Of z, where there is one: see `adherence`, `text_metrics` and
        `_z_metrics`; ``boxes.of_ceiling`` is a share of what the judge finds in real pictures.
    """
    valid = _matching(seen, asked)
    drawn, real = _kept(seen, valid), _kept(reference, _matching(reference, asked))
    values = _set_metrics(seen, reference)
    values["edges"] = edge_ratio(seen, reference)
    values["caption"] = Estimate.mean_of(valid.mean(2))
    for name, score in DIVERSITY.items():
        values |= _diversity(seen, valid, name, score)
    for factor in FACTORS:
        values |= _modes(seen, drawn, real, asked, factor)
    values |= adherence(seen) | text_metrics(seen) | _z_metrics(seen, asked)
    if "boxes" in values:
        values["boxes.of_ceiling"] = combine([(1.0 / ceiling, values["boxes"])])
    return values


def feature_distances(
    seen: Observed, reference: Observed, texts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compare pictures that nothing judges with real ones, over all captions.

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
    """Measure pictures that nothing judges, caption by caption.

    Args:
        seen: As for `feature_distances`, like the others.
        reference: Likewise.
        texts: Likewise.

    Returns:
        Estimates by metric: ``vendi``, ``vendi.infinity`` and ``mss``, where a caption has two
        pictures, ``edges``, and `adherence`. ``clip``: 100 times the cosine of picture and
        caption, where that is positive (CLIPScore, 2104.08718, without its factor of 2.5).
    """
    estimates = {"edges": edge_ratio(seen, reference)}
    if texts is not None:
        cosines = np.einsum("csnd,cd->csn", unit(seen.features), unit(texts))
        estimates["clip"] = Estimate.mean_of(100.0 * cosines.clip(min=0.0).mean(2))
    if seen.features.shape[2] >= LEAST_VALID:
        for name, score in DIVERSITY.items():
            estimates[name] = _over_all(seen, score)
    return estimates | adherence(seen)


def edge_ratio(seen: Observed, reference: Observed) -> Estimate:
    """Edge energy of pictures over that of real ones.

    A ratio of means, since a mean of ratios to a few pictures' noisy energy would be too high. Each
    caption and seed contributes what it adds to the ratio, to first order.
    """
    drawn, real = seen.edges.mean(2), reference.edges.mean(axis=(1, 2))
    ratio = drawn.mean() / real.mean()
    return Estimate.mean_of(ratio + (drawn - ratio * real[:, None]) / real.mean())


def _matching(seen: Observed, asked: Sequence[Asked]) -> np.ndarray:
    """Which pictures show what was asked for: bool (captions, seeds, n)."""
    groups = zip(seen.verdicts, asked, strict=True)
    return np.array([[[matches(v, a) for v in g] for g in by_seed] for by_seed, a in groups])


def _kept(seen: Observed, which: np.ndarray) -> Groups:
    """The verdicts of those pictures, by caption and seed."""
    return [
        [
            [verdict for verdict, keep in zip(group, kept, strict=True) if keep]
            for group, kept in zip(by_seed, kept_by_seed, strict=True)
        ]
        for by_seed, kept_by_seed in zip(seen.verdicts, which, strict=True)
    ]


def _of_captions(values: Mapping[str, tuple[float, np.ndarray]], seeds: int) -> dict[str, Estimate]:
    return {name: Estimate.of_captions(*value, seeds) for name, value in values.items()}


def _shares_in_blocks(seen: Observed, reference: Observed) -> dict[str, Estimate]:
    """Average the metrics that need as many drawn as real pictures over blocks of as many.

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


def _set_metrics(seen: Observed, reference: Observed) -> dict[str, Estimate]:
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


def _diversity(
    seen: Observed, valid: np.ndarray, name: str, score: Callable[[np.ndarray], float]
) -> dict[str, Estimate]:
    """Score all pictures of a group, and the valid ones alone: garbage is diverse too."""

    def of_valid(c: int, s: int) -> float:
        rows = seen.features[c, s][valid[c, s]]
        return score(rows) if len(rows) >= LEAST_VALID else float("nan")

    return {
        name: _over_all(seen, score),
        f"{name}.valid": seen.by_group(of_valid, valid.sum(2)),
    }


def _over_all(seen: Observed, score: Callable[[np.ndarray], float]) -> Estimate:
    return seen.by_group(lambda c, s: score(seen.features[c, s]))


def _modes(
    seen: Observed, drawn: Groups, real: Groups, asked: Sequence[Asked], factor: str
) -> dict[str, Estimate]:
    """Measure a factor among valid pictures, drawn and real ones."""
    counts = np.array([[len(group) for group in by_seed] for by_seed in drawn])
    ours, theirs = (_factor_values(side, asked, factor) for side in (drawn, real))
    known = [known_values(factor, a.shapes.total()) for a in asked]
    scores: dict[str, Callable[[int, int], float]] = {
        f"entropy.{factor}": lambda c, s: mode_entropy(ours[c][s]),
        f"entropy.{factor}.real": lambda c, s: entropy_of_as_many(int(counts[c, s]), theirs[c][s]),
        f"coverage.{factor}": lambda c, s: mode_coverage(ours[c][s], known[c]),
    }
    return {name: seen.by_group(score, counts) for name, score in scores.items()}


def _factor_values(groups: Groups, asked: Sequence[Asked], factor: str) -> list[list[FactorValues]]:
    return [
        [factor_values(group, of_caption, factor) for group in by_seed]
        for by_seed, of_caption in zip(groups, asked, strict=True)
    ]


def _z_metrics(seen: Observed, asked: Sequence[Asked]) -> dict[str, Estimate]:
    """Measure whether z says what the caption says.

    Returns:
        ``z.count``, ``z.shapes`` and ``z.agrees`` (both, and each shape's number); nothing where
        no z has boxes.
    """
    if not any(marker("boxes") in z for z in seen.texts):
        return {}
    checks = {"count": same_count, "shapes": same_shapes, "agrees": agrees}
    return {f"z.{name}": _z_share(seen, asked, holds) for name, holds in checks.items()}


def _z_share(
    seen: Observed, asked: Sequence[Asked], holds: Callable[[str, Counter[str]], bool]
) -> Estimate:
    return seen.by_group(
        lambda c, s: float(np.mean([holds(z, asked[c].shapes) for z in seen.z[c][s]]))
    )
