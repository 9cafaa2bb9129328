"""Intervals over captions and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
        clusters: For each caption, the name of its cluster. Captions of one cluster, such as
            wordings of one combination of objects, are resampled together. Empty if each caption
            is a cluster of its own.
    """

    value: float
    table: np.ndarray
    pictures: int | None = None
    skipped: int = 0
    clusters: tuple[str, ...] = ()

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
        """Bootstrap over clusters of captions and seeds; none for fewer than two clusters."""
        return _percentiles(self.value, self.draws(), self.table, self.clusters)

    def draws(self) -> np.ndarray:
        """Return the values of `RESAMPLES` resamples, see `resampled_means`."""
        return self.value + resampled_means(self.table, self.clusters) - _means(self.table[None])[0]


def clustered(values: Mapping[str, Estimate], clusters: Sequence[str]) -> dict[str, Estimate]:
    """Tell estimates which captions belong together, see `Estimate.clusters`."""
    return {name: replace(value, clusters=tuple(clusters)) for name, value in values.items()}


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


def resampled_means(
    table: np.ndarray, clusters: Sequence[str] = (), count: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Average a table over resampled captions and seeds, which are crossed factors.

    Clusters of captions and seeds are drawn with replacement, independently: a resample holds all
    captions of its clusters under all its seeds (Owen's pigeonhole bootstrap, 2007). Tables of
    equal shape and clusters are resampled alike, so that models are compared on the same captions
    and seeds.

    Args:
        table: (captions, seeds); cells that are not finite are left out.
        clusters: For each caption, the name of its cluster; empty if each is one.
        count: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        (count,), NaN where a resample has no finite cell.
    """
    captions, seeds = table.shape
    indices = _cluster_indices(captions, clusters)
    number = int(indices.max()) + 1
    rng = generator(seed, "bootstrap", f"{number}x{seeds}")
    rows = _times(rng.integers(number, size=(count, number)), number)[:, indices]
    columns = _times(rng.integers(seeds, size=(count, seeds)), seeds)
    known = np.isfinite(table)
    totals = np.einsum("rc,cs,rs->r", rows, np.where(known, table, 0.0), columns)
    weights = np.einsum("rc,cs,rs->r", rows, known.astype(float), columns)
    return np.where(weights > 0, totals / np.maximum(weights, 1), np.nan)


def _cluster_indices(captions: int, clusters: Sequence[str]) -> np.ndarray:
    """Number the clusters in the order of their first captions: int (captions,)."""
    if not clusters:
        return np.arange(captions)
    numbers = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    return np.array([numbers[name] for name in clusters])


def _times(chosen: np.ndarray, number: int) -> np.ndarray:
    """How often each of `number` indices occurs in each row: (count, k) -> (count, number)."""
    counts = np.zeros((len(chosen), number))
    np.add.at(counts, (np.arange(len(chosen))[:, None], chosen), 1.0)
    return counts


def combine(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Add estimates with weights, paired by caption and seed; a cell that one misses is missing."""
    return Estimate(
        sum(weight * part.value for weight, part in parts),
        sum((weight * part.table for weight, part in parts), np.zeros_like(parts[0][1].table)),
        clusters=parts[0][1].clusters,
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
    draws = [part.draws() for part in (above, below)]
    if not below.value > 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    sound = draws[1] > 0.0
    quotients = draws[0][sound] / draws[1][sound]
    return _percentiles(
        above.value / below.value, quotients, above.table + below.table, above.clusters
    )


def _percentiles(
    value: float, draws: np.ndarray, table: np.ndarray, clusters: Sequence[str] = ()
) -> Interval:
    finite = draws[np.isfinite(draws)]
    known = np.unique(_cluster_indices(len(table), clusters)[np.isfinite(table).any(axis=1)])
    # A single cluster tells nothing about how clusters differ: every resample of it is itself.
    if not finite.size or len(known) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(value, float(low), float(high))


def _means(tables: np.ndarray) -> np.ndarray:
    """Mean of each table's known cells: (count, captions, seeds) -> (count,)."""
    known = np.isfinite(tables)
    count = known.sum((1, 2))
    totals = np.where(known, tables, 0.0).sum((1, 2))
    return np.where(count > 0, totals / np.maximum(count, 1), np.nan)
