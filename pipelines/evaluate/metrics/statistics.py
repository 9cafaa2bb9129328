"""Intervals: what the numbers would be with other captions and other seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.core.seeds import generator

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its 95 % interval; the ends are NaN where none can be given."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number and the parts that it averages over.

    Attributes:
        value: The number.
        table: (captions, seeds): each cell's contribution, NaN where there is none. Its mean is
            the value, or near it for pseudo-values of a number that is no average.
        pictures: How many it was computed from; None for all.
        skipped: Groups, each a caption under a seed, that gave no value to the mean.
    """

    value: float
    table: np.ndarray
    pictures: int | None = None
    skipped: int = 0

    @classmethod
    def mean_of(cls, table: np.ndarray, counts: np.ndarray | None = None) -> Estimate:
        """Average a table; missing cells are left out.

        Args:
            table: (captions, seeds).
            counts: (captions, seeds), pictures behind each cell, where that is not all of them.
        """
        table = np.asarray(table, dtype=np.float64)
        known = np.isfinite(table)
        pictures = None if counts is None else int(counts[known].sum())
        return cls(float(_means(table[None])[0]), table, pictures, int((~known).sum()))

    @classmethod
    def of_captions(cls, value: float, pseudo: np.ndarray, seeds: int) -> Estimate:
        """A number that is known of captions over all seeds.

        Args:
            value: The number.
            pseudo: (captions,) jackknife pseudo-values.
            seeds: How many seeds it was computed from.
        """
        return cls(value, np.repeat(pseudo[:, None], seeds, axis=1))

    def interval(self) -> Interval:
        """Bootstrap over captions and seeds, see `resample`; none for fewer than two captions."""
        draws = self.value + _means(resample(self.table)) - _means(self.table[None])[0]
        return _percentiles(self.value, draws, self.table)


def jackknife(
    score: Callable[[np.ndarray], float], count: int, known: Sequence[int] | None = None
) -> tuple[float, np.ndarray]:
    """A number of all captions together, with each caption's pseudo-value.

    Args:
        score: The number of the captions of these indices, (k,).
        count: Captions.
        known: Indices of those that the number can be computed of, at least one; None for all.

    Returns:
        The number, and (count,) pseudo-values ``g θ - (g - 1) θ₋ᵢ``, θ₋ᵢ without caption i: their
        spread is the number's. They are NaN for a single caption, and for those not known.
    """
    used = np.arange(count) if known is None else np.asarray(known)
    whole, pseudo = score(used), np.full(count, np.nan)
    if len(used) > 1:
        without = np.array([score(np.delete(used, i)) for i in range(len(used))])
        pseudo[used] = len(used) * whole - (len(used) - 1) * without
    return whole, pseudo


def resample(table: np.ndarray, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Resample a table's rows and columns, captions and seeds as crossed factors.

    Both are drawn with replacement, independently: a resample holds all its captions under all its
    seeds (Owen's pigeonhole bootstrap, 2007). Tables of equal shape are resampled alike, so two
    models are compared on the same captions and seeds.

    Args:
        table: (captions, seeds).
        count: Number of resamples.
        seed: Of the resampling.

    Returns:
        (count, captions, seeds).
    """
    captions, seeds = table.shape
    rng = generator(seed, "bootstrap", f"{captions}x{seeds}")
    rows = rng.integers(captions, size=(count, captions, 1))
    columns = rng.integers(seeds, size=(count, 1, seeds))
    return table[rows, columns]


def combine(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Add estimates with weights, paired by caption and seed; a cell that one misses is missing."""
    return Estimate(
        sum(weight * part.value for weight, part in parts),
        sum((weight * part.table for weight, part in parts), np.zeros_like(parts[0][1].table)),
    )


def difference_of_differences(
    baseline: tuple[Estimate, Estimate], kaleido: tuple[Estimate, Estimate]
) -> Interval:
    """Interval of Kaleido's change minus the baseline's, paired by caption and seed.

    Args:
        baseline: Its estimates at the lowest and at the highest guidance.
        kaleido: The same for Kaleido.
    """
    parts = [(-1.0, kaleido[0]), (1.0, kaleido[1]), (1.0, baseline[0]), (-1.0, baseline[1])]
    return combine(parts).interval()


def ratio(above: Estimate, below: Estimate) -> Interval:
    """Interval of a quotient, both resampled alike; NaN where the denominator is not positive."""
    draws = [
        part.value + _means(resample(part.table)) - _means(part.table[None])[0]
        for part in (above, below)
    ]
    if not below.value > 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    sound = draws[1] > 0.0
    quotients = draws[0][sound] / draws[1][sound]
    return _percentiles(above.value / below.value, quotients, above.table + below.table)


def _percentiles(value: float, draws: np.ndarray, table: np.ndarray) -> Interval:
    finite = draws[np.isfinite(draws)]
    # One caption shows nothing of how captions differ: every resample of it is itself.
    if not finite.size or np.isfinite(table).any(axis=1).sum() < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(value, float(low), float(high))


def _means(tables: np.ndarray) -> np.ndarray:
    """Mean of each table's known cells: (count, captions, seeds) -> (count,)."""
    known = np.isfinite(tables)
    count = known.sum((1, 2))
    totals = np.where(known, tables, 0.0).sum((1, 2))
    return np.where(count > 0, totals / np.maximum(count, 1), np.nan)
