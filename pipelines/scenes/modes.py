"""Known modes: how much of what a caption leaves open is still drawn, as the judge sees it.

Only valid pictures count, in which the judge finds exactly the captioned objects, in the colours
that the caption states; otherwise noise would pass for variety. Every factor is measured given
what the caption fixes: an object's factors given its shape, the picture's given the caption.
Rotation is a factor of the data that the judge cannot see. Real pictures go through the same judge,
so that its mistakes fall on both sides.
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
"""Factors that tell something about the caption: theory expects guidance to collapse these."""

INDEPENDENT = ("size", "background")
"""Factors that tell nothing about the caption, and should survive guidance."""

FACTORS = (*CORRELATED, *INDEPENDENT)
DRAWS = 8
"""Coverage is the expected share of modes among this many draws, whatever n is."""
SUBSETS = 50
"""Random choices of as many real pictures as a model has valid ones."""


def matches(verdict: Verdict, asked: Asked) -> bool:
    """Whether the judge finds the captioned objects alone, in the colours that are stated."""
    found = Counter(item.label for item in verdict.objects)
    return found == asked.shapes and all(
        item.attributes["colour"] == asked.colours.get(item.label, item.attributes["colour"])
        for item in verdict.objects
    )


def mode_entropy(values: FactorValues) -> float:
    """Entropy of a factor among one caption's samples, in nats.

    Args:
        values: Of the valid samples, those that show what was asked.

    Returns:
        The mean over the captioned shapes, weighted by their counts (or the picture's entropy);
        NaN where fewer than two values were observed.
    """
    return _mean([(float(entropy(_tally(part))), weight) for part, weight in values])


def entropy_of_as_many(count: int, real: FactorValues) -> float:
    """Entropy of a factor that real pictures would show if they were as few as the valid samples.

    No estimate from four pictures equals one from forty, so a share of the data's entropy is taken
    at equal numbers: rarefaction again, by random choice, since a picture shows several objects.

    Args:
        count: How many samples of the caption are valid.
        real: Values of the valid real pictures of the caption.

    Returns:
        The mean over `SUBSETS` choices, NaN where `mode_entropy` of the samples is. Where no more
        real pictures are valid than samples, that of all real ones.
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
    """Expected share of a factor's known modes seen in `DRAWS` draws, from 0 to 1.

    Rarefaction (Hurlbert, 1971) makes it comparable between sets of different size.

    Args:
        values: As for `mode_entropy`.
        known: Number of values that the factor can take.

    Returns:
        As for `mode_entropy`; NaN where fewer than `DRAWS` values were observed.
    """
    return _mean([(rarefied(_tally(part)) / known, weight) for part, weight in values])


def entropy(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Estimate entropies in nats from few draws (Chao and Shen, 2003).

    The plain estimate is too low by about (modes - 1) / 2n, which would punish whichever model has
    fewer valid pictures. This one weighs modes by the chance to have been seen at all.

    Args:
        counts: How often each mode was drawn, (..., modes).

    Returns:
        (...), the estimates, NaN for fewer than two draws.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n = counts.sum(-1, keepdims=True)
    enough = np.maximum(n, 2.0)
    # All different would leave a coverage of zero.
    singles = np.minimum((counts == 1).sum(-1, keepdims=True), enough - 1)
    p = (1.0 - singles / enough) * counts / enough
    seen = np.where(p > 0.0, p, 1.0)  # whose logarithm is zero, as is the limit of p log p
    terms = seen * np.log(seen) / (1.0 - (1.0 - seen) ** enough)
    return np.where(n[..., 0] < 2, np.nan, -terms.sum(-1))


def rarefied(counts: Sequence[int] | np.ndarray, draws: int = DRAWS) -> float:
    """Expected number of different modes in `draws` draws without replacement, or NaN.

    Args:
        counts: How often each mode was drawn, (modes,).
        draws: How many draws.
    """
    counts = np.asarray(counts)
    n = counts.sum()
    if n < draws:
        return float("nan")
    steps = np.arange(draws)
    missed = np.clip((n - counts[:, None] - steps) / (n - steps), 0.0, 1.0).prod(1)
    return float((1.0 - missed).sum())


def _tally(values: np.ndarray, modes: int = 0) -> np.ndarray:
    """How often each number occurs: (modes,), or up to the greatest."""
    return np.bincount(values.ravel(), minlength=modes)


def _mean(parts: Sequence[tuple[float, int]]) -> float:
    known = [(value, weight) for value, weight in parts if np.isfinite(value)]
    if not known:
        return float("nan")
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
