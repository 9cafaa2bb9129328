"""Compute all metrics of a set of scene pictures against real renders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.evaluate.adherence.boxes import agrees, same_count, same_shapes
from pipelines.evaluate.adherence.kinds import adherence
from pipelines.evaluate.measure import (
    DIVERSITY,
    LEAST_VALID,
    by_groups,
    edge_ratio,
    plain_diversity,
    set_metrics,
)
from pipelines.evaluate.metrics.self_agreement import self_agreement
from pipelines.evaluate.metrics.statistics import Estimate, combine
from pipelines.evaluate.metrics.z_texts import text_metrics
from pipelines.evaluate.observations import Verdict
from pipelines.evaluate.observe import Observed
from pipelines.latents.text import marker
from pipelines.scenes.description_adherence import description_adherence
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
"""Verdicts indexed by caption and seed."""


def measure(
    seen: Observed, reference: Observed, asked: Sequence[Asked], ceiling: float
) -> dict[str, Estimate]:
    """Compute all metrics.

    Args:
        seen: The pictures: n per caption and seed, n >= 2.
        reference: The same number of real pictures.
        asked: The objects that each caption asks for.
        ceiling: Share of real boxes that the judge finds with the right shape, above 0.

    Returns:
        Estimates by metric:

        * over all pictures: ``frechet``, ``mmd``, ``precision``, ``recall``, ``density`` and
          ``coverage.real``;
        * over the n pictures of a caption and seed: `plain_diversity`, ``vendi``,
          ``vendi.infinity``, ``mss``, ``edges`` (edge energy relative to real pictures) and
          ``caption`` (share of valid pictures: exactly the captioned objects, in stated colours);
        * over valid pictures: ``vendi.valid`` and so on, ``entropy.FACTOR`` (nats),
          ``entropy.FACTOR.real`` (for the same number of real pictures) and ``coverage.FACTOR``.
          These record how many pictures they used and skip groups with too few;
        * of z, if any: see `adherence`, `text_metrics`, `self_agreement` and
          `_z_metrics`. ``boxes.of_ceiling`` is
          relative to the judge's accuracy on real pictures.
    """
    valid = _matching(seen, asked)
    drawn, real = _kept(seen, valid), _kept(reference, _matching(reference, asked))
    values = set_metrics(seen, reference)
    values["edges"] = edge_ratio(seen, reference)
    values["caption"] = Estimate.mean_of(valid.mean(2))
    for name, score in DIVERSITY.items():
        values |= _diversity(seen, valid, name, score)
    values |= plain_diversity(seen)
    for factor in FACTORS:
        values |= _modes(seen, drawn, real, asked, factor)
    values |= adherence(seen, {"description": description_adherence})
    values |= text_metrics(seen) | self_agreement(seen) | _z_metrics(seen, asked)
    if "boxes" in values:
        values["boxes.of_ceiling"] = combine([(1.0 / ceiling, values["boxes"])])
    return values


def _matching(seen: Observed, asked: Sequence[Asked]) -> np.ndarray:
    """Return which pictures match their captions: bool (captions, seeds, n)."""
    groups = zip(seen.verdicts, asked, strict=True)
    return np.array([[[matches(v, a) for v in g] for g in by_seed] for by_seed, a in groups])


def _kept(seen: Observed, which: np.ndarray) -> Groups:
    """Return the verdicts on valid pictures, indexed by caption and seed."""
    return [
        [
            [verdict for verdict, keep in zip(group, kept, strict=True) if keep]
            for group, kept in zip(by_seed, kept_by_seed, strict=True)
        ]
        for by_seed, kept_by_seed in zip(seen.verdicts, which, strict=True)
    ]


def _diversity(
    seen: Observed, valid: np.ndarray, name: str, score: Callable[[np.ndarray], float]
) -> dict[str, Estimate]:
    """Score all pictures of a group, and the valid ones alone: garbage is diverse too."""

    def of_valid(c: int, s: int) -> float:
        rows = seen.features[c, s][valid[c, s]]
        return score(rows) if len(rows) >= LEAST_VALID else float("nan")

    return {
        name: by_groups(seen, score),
        f"{name}.valid": seen.by_group(of_valid, valid.sum(2)),
    }


def _modes(
    seen: Observed, drawn: Groups, real: Groups, asked: Sequence[Asked], factor: str
) -> dict[str, Estimate]:
    """Measure a factor in valid pictures, both drawn and real."""
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
    """Measure whether the boxes of z agree with the caption.

    Returns:
        ``z.count``, ``z.shapes`` and ``z.agrees`` (shapes and their counts); empty if no z has
        boxes.
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
