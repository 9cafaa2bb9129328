"""Known modes: the variety of the factors that a caption leaves open, as the judge sees it.

Only valid pictures count: those in which the judge finds exactly the captioned objects in the
stated colours. Otherwise noise would count as variety. Each factor is conditioned on what the
caption fixes: an object's factors on its shape, the picture's factors on the caption. The judge
cannot see rotation. Real pictures go through the same judge, so its errors affect both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines.core.seeds import generator
from pipelines.evaluate.observations import Verdict
from pipelines.scenes.oracle import FactorValues
from pipelines.scenes.reference import Asked

CORRELATED = ("colour", "texture", "place", "arrangement")
"""Factors that are informative about the caption: guidance is expected to collapse these."""

INDEPENDENT = ("size", "background")
"""Factors that are independent of the caption, which guidance should preserve."""

FACTORS = (*CORRELATED, *INDEPENDENT)
DRAWS = 8
"""Coverage is the expected share of modes in this many draws, for any n."""
SUBSETS = 50
"""Random subsets of the real pictures, each as large as the model's set of valid pictures."""


def matches(verdict: Verdict, asked: Asked) -> bool:
    """Return whether the judge finds exactly the captioned objects, in the stated colours."""
    found = Counter(item.label for item in verdict.objects)
    return found == asked.shapes and all(
        item.attributes["colour"] == asked.colours.get(item.label, item.attributes["colour"])
        for item in verdict.objects
    )


def mode_entropy(values: FactorValues) -> float:
    """Return the entropy of a factor over one caption's samples, in nats.

    Args:
        values: The factor's values in the valid samples.

    Returns:
        The mean over the captioned shapes, weighted by their counts (or the picture's entropy);
        NaN where fewer than two values were observed.
    """
    return _mean([(float(entropy(_tally(part))), weight) for part, weight in values])


def entropy_of_as_many(count: int, real: FactorValues) -> float:
    """Return the entropy of a factor in as many real pictures as there are valid samples.

    Entropy estimates depend on sample size, so both sides are compared at equal numbers. This is
    rarefaction by random subsets, because a picture shows several objects.

    Args:
        count: Number of valid samples of the caption.
        real: Values of the valid real pictures of the caption.

    Returns:
        The mean over `SUBSETS` subsets; NaN where `mode_entropy` of the samples is NaN. With at
        most `count` valid real pictures, the entropy of all of them.
    """
    known = len(real[0][0]) if real else 0
    if count >= known:
        return mode_entropy(real)
    rng = generator(0, "as many real pictures", f"{count} of {known}")
    choices = np.array([rng.permutation(known)[:count] for _ in range(SUBSETS)])
    parts = []
    for part, weight in real:
        tallies = [_tally(chosen, part.max() + 1) for chosen in part[choices]]
        parts.append((float(entropy(np.array(tallies)).mean()), weight))
    return _mean(parts)


def mode_coverage(values: FactorValues, known: int) -> float:
    """Return the expected share of a factor's known modes in `DRAWS` draws, from 0 to 1.

    Rarefaction (Hurlbert, 1971) makes sets of different sizes comparable.

    Args:
        values: As for `mode_entropy`.
        known: Number of values that the factor can take.

    Returns:
        As for `mode_entropy`; NaN where fewer than `DRAWS` values were observed.
    """
    return _mean([(rarefied(_tally(part)) / known, weight) for part, weight in values])


def entropy(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Estimate entropies in nats from few draws (Chao and Shen, 2003).

    The plug-in estimate is biased low by about (modes - 1) / 2n, which would penalise the model
    with fewer valid pictures. This estimator weights each mode by its chance of being observed.

    Args:
        counts: How often each mode was drawn, (..., modes).

    Returns:
        (...), the estimates; NaN for fewer than two draws.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n = counts.sum(-1, keepdims=True)
    enough = np.maximum(n, 2.0)
    # If all draws differ, the estimated coverage would be zero.
    singles = np.minimum((counts == 1).sum(-1, keepdims=True), enough - 1)
    p = (1.0 - singles / enough) * counts / enough
    seen = np.where(p > 0.0, p, 1.0)  # log 1 = 0 is the limit of p log p
    terms = seen * np.log(seen) / (1.0 - (1.0 - seen) ** enough)
    return np.where(n[..., 0] < 2, np.nan, -terms.sum(-1))


def rarefied(counts: Sequence[int] | np.ndarray, draws: int = DRAWS) -> float:
    """Return the expected number of distinct modes in `draws` draws without replacement, or NaN.

    Args:
        counts: How often each mode was drawn, (modes,).
        draws: Number of draws.
    """
    counts = np.asarray(counts)
    n = counts.sum()
    if n < draws:
        return float("nan")
    steps = np.arange(draws)
    missed = np.clip((n - counts[:, None] - steps) / (n - steps), 0.0, 1.0).prod(1)
    return float((1.0 - missed).sum())


def _tally(values: np.ndarray, modes: int = 0) -> np.ndarray:
    """Count each number: (modes,), or up to the greatest number."""
    return np.bincount(values.ravel(), minlength=modes)


def _mean(parts: Sequence[tuple[float, int]]) -> float:
    known = [(value, weight) for value, weight in parts if np.isfinite(value)]
    if not known:
        return float("nan")
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
