"""Known modes: how much of what a caption leaves open is still drawn, as the judge sees it.

Only valid pictures count, in which the judge finds exactly the captioned objects; otherwise noise
would pass for variety. Every factor is measured given what the caption fixes: an object's factors
given its shape, the picture's given the caption. Rotation is a factor of the data that the judge
cannot see. Real pictures go through the same judge, so that its mistakes fall on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from pipelines.core.seeds import generator
from pipelines.data.scenes.factors import (
    ARRANGEMENTS,
    BACKGROUNDS,
    COLOURS,
    SIZES,
    TEXTURES,
    arrangement_of,
)
from pipelines.evaluate.judge import Found, Verdict
from pipelines.latents.base import GRID

CORRELATED = ("colour", "texture", "place", "arrangement")
"""Factors that tell something about the caption: theory expects guidance to collapse these."""

INDEPENDENT = ("size", "background")
"""Factors that tell nothing about the caption, and should survive guidance."""

FACTORS = (*CORRELATED, *INDEPENDENT)
DRAWS = 8
"""Coverage is the expected share of modes among this many draws, whatever n is."""
SUBSETS = 50
"""Random choices of as many real pictures as a model has valid ones."""

_OBJECT_FACTORS = ("colour", "texture", "place", "size")
_SIZE_EDGES = (0.31, 0.385)  # of the side: between the boxes of small, medium and large
_PLACES = 9


def matches(verdict: Verdict, asked: Mapping[str, int]) -> bool:
    """Whether the judge finds the captioned objects, neither fewer nor more."""
    return Counter(item.shape for item in verdict.objects) == Counter(asked)


def mode_entropy(valid: Sequence[Verdict], asked: Mapping[str, int], factor: str) -> float:
    """Entropy of a factor among one caption's samples, in nats.

    Args:
        valid: What the judge sees in the caption's valid samples, those that show what was asked.
        asked: The captioned shapes with their counts.
        factor: One of `FACTORS`.

    Returns:
        The mean over the captioned shapes, weighted by their counts (or the picture's entropy);
        NaN where fewer than two values were observed.
    """
    tallies = _tallies(valid, asked, factor)
    return _mean([(entropy([*tally.values()]), weight) for tally, weight in tallies])


def entropy_of_as_many(
    count: int, real: Sequence[Verdict], asked: Mapping[str, int], factor: str
) -> float:
    """Entropy of a factor that real pictures would show if they were as few as the valid samples.

    No estimate from four pictures equals one from forty, so a share of the data's entropy is taken
    at equal numbers: rarefaction again, by random choice, since a picture shows several objects.

    Args:
        count: How many samples of the caption are valid.
        real: What the judge sees in the valid real pictures of the caption.
        asked: The captioned shapes with their counts.
        factor: One of `FACTORS`.

    Returns:
        The mean over `SUBSETS` choices, NaN where `mode_entropy` of the samples is. Where no more
        real pictures are valid than samples, that of all real ones.
    """
    if count >= len(real):
        return mode_entropy(real, asked, factor)
    rng = generator(0, "as many real pictures", f"{count} of {len(real)}")
    choices = [rng.permutation(len(real))[:count] for _ in range(SUBSETS)]
    parts = []
    for values, weight in _values(real, asked, factor):
        numbers = {value: number for number, value in enumerate(dict.fromkeys(chain(*values)))}
        numbered = np.array([[numbers[value] for value in picture] for picture in values])
        found = [entropy(np.bincount(numbered[chosen].ravel())) for chosen in choices]
        parts.append((float(np.mean(found)), weight))
    return _mean(parts)


def mode_coverage(valid: Sequence[Verdict], asked: Mapping[str, int], factor: str) -> float:
    """Expected share of a factor's known modes seen in `DRAWS` draws, from 0 to 1.

    Rarefaction (Hurlbert, 1971) makes it comparable between sets of different size.

    Returns:
        As for `mode_entropy`; NaN where fewer than `DRAWS` values were observed.
    """
    modes = known_modes(factor, sum(asked.values()))
    return _mean(
        [(rarefied(tally) / modes, weight) for tally, weight in _tallies(valid, asked, factor)]
    )


def known_modes(factor: str, count: int) -> int:
    """Number of values that a factor can take in a picture of `count` objects."""
    sizes = {
        "colour": len(COLOURS),
        "texture": len(TEXTURES),
        "place": _PLACES,
        "size": len(SIZES),
        "background": len(BACKGROUNDS),
        "arrangement": len(ARRANGEMENTS.get(count, ("free",))),
    }
    return sizes[factor]


def entropy(counts: Sequence[int] | np.ndarray) -> float:
    """Estimate an entropy in nats from few draws (Chao and Shen, 2003).

    The plain estimate is too low by about (modes - 1) / 2n, which would punish whichever model has
    fewer valid pictures. This one weighs modes by the chance to have been seen at all.

    Args:
        counts: How often each mode was drawn.

    Returns:
        The estimate, or NaN for fewer than two draws.
    """
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts > 0]
    n = counts.sum()
    if n < 2:
        return float("nan")
    singles = min(int((counts == 1).sum()), n - 1)  # all different would leave a coverage of zero
    p = (1.0 - singles / n) * counts / n
    return float(-(p * np.log(p) / (1.0 - (1.0 - p) ** n)).sum())


def rarefied(tally: Mapping[Hashable, int], draws: int = DRAWS) -> float:
    """Expected number of different values in `draws` draws without replacement, or NaN."""
    n = sum(tally.values())
    if n < draws:
        return float("nan")
    missed = 0.0
    for count in tally.values():
        steps = np.arange(draws)
        missed += float(np.prod(np.clip((n - count - steps) / (n - steps), 0.0, 1.0)))
    return len(tally) - missed


def _tallies(
    valid: Sequence[Verdict], asked: Mapping[str, int], factor: str
) -> list[tuple[Counter[Hashable], int]]:
    """Count a factor's values: one tally a captioned shape, or one for the picture."""
    return [
        (Counter(chain.from_iterable(values)), weight)
        for values, weight in _values(valid, asked, factor)
    ]


def _values(
    valid: Sequence[Verdict], asked: Mapping[str, int], factor: str
) -> list[tuple[list[list[Hashable]], int]]:
    """A factor's values in each valid picture, for each captioned shape or for the picture."""
    if factor in _OBJECT_FACTORS:
        return [
            ([[factor_of(i, factor) for i in v.objects if i.shape == shape] for v in valid], n)
            for shape, n in asked.items()
        ]
    if factor == "background":
        return [([[verdict.background] for verdict in valid], 1)]
    return [([[arrangement_in(verdict.objects)] for verdict in valid], 1)]


def factor_of(item: Found, factor: str) -> Any:
    """Tell an object's colour or texture by name, its size by number, its place's column and row.

    Sizes count from the smallest, columns and rows of the 3 by 3 grid from the upper left.
    """
    if factor == "colour":
        return item.colour
    if factor == "texture":
        return item.texture
    x1, y1, x2, y2 = (value / GRID for value in item.box)
    if factor == "size":
        side = float(np.sqrt(max(x2 - x1, 0.0) * max(y2 - y1, 0.0)))
        return int(np.searchsorted(_SIZE_EDGES, side))
    return int(min((x1 + x2) * 1.5, 2.0)), int(min((y1 + y2) * 1.5, 2.0))


def arrangement_in(objects: Sequence[Found]) -> str:
    """Name the arrangement of objects; ``free`` for a number of them that has none."""
    if len(objects) not in ARRANGEMENTS:
        return "free"
    boxes = np.array([item.box for item in objects], dtype=np.float64) / GRID
    return arrangement_of((boxes[:, :2] + boxes[:, 2:]) / 2.0)


def _mean(parts: Sequence[tuple[float, int]]) -> float:
    known = [(value, weight) for value, weight in parts if np.isfinite(value)]
    if not known:
        return float("nan")
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
