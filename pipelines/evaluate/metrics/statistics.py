"""Confidence intervals over captions and seeds."""

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
    """A value with the bounds of its 95 % interval; the bounds are NaN if there is no interval."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number and the contributions of captions and seeds.

    Attributes:
        value: The number.
        table: (captions, seeds), the contribution of each cell, NaN where missing. Its mean is
            the value, or close to it for pseudo-values of a number that is not a mean.
        pictures: Number of pictures that it was computed from; None for all.
        skipped: Number of groups (a caption under a seed) without a value.
        clusters: The cluster of each caption. Captions of one cluster, such as different wordings
            for the same objects, are resampled together. Empty if every caption is a cluster.
    """

    value: float
    table: np.ndarray
    pictures: int | None = None
    skipped: int = 0
    clusters: tuple[str, ...] = ()

    @classmethod
    def mean_of(cls, table: np.ndarray, counts: np.ndarray | None = None) -> Estimate:
        """Average a table without its missing cells.

        Args:
            table: (captions, seeds).
            counts: (captions, seeds), number of pictures in each cell; None for all.
        """
        table = np.asarray(table, dtype=np.float64)
        known = np.isfinite(table)
        pictures = None if counts is None else int(counts[known].sum())
        return cls(float(_means(table[None])[0]), table, pictures, int((~known).sum()))

    @classmethod
    def of_captions(cls, value: float, pseudo: np.ndarray, seeds: int) -> Estimate:
        """Make an estimate of a number that is computed per caption over all seeds.

        Args:
            value: The number.
            pseudo: (captions,) jackknife pseudo-values.
            seeds: Number of seeds.
        """
        return cls(value, np.repeat(pseudo[:, None], seeds, axis=1))

    def interval(self) -> Interval:
        """Bootstrap over clusters of captions and seeds; NaN bounds for fewer than two clusters."""
        return _percentiles(self.value, self.draws(), self.table, self.clusters)

    def draws(self) -> np.ndarray:
        """Return the values of `RESAMPLES` resamples, see `resampled_means`."""
        return self.value + resampled_means(self.table, self.clusters) - _means(self.table[None])[0]


def clustered(values: Mapping[str, Estimate], clusters: Sequence[str]) -> dict[str, Estimate]:
    """Assign captions to clusters in every estimate, see `Estimate.clusters`."""
    return {name: replace(value, clusters=tuple(clusters)) for name, value in values.items()}


def jackknife(
    score: Callable[[np.ndarray], float], count: int, known: Sequence[int] | None = None
) -> tuple[float, np.ndarray]:
    """Compute a number over all captions, with each caption's pseudo-value.

    Args:
        score: Computes the number for the captions with these indices, (k,).
        count: Number of captions.
        known: Indices of the captions for which it can be computed, at least one; None for all.

    Returns:
        The number θ, and the pseudo-values ``g θ - (g - 1) θ₋ᵢ``, (count,), with θ₋ᵢ leaving out
        caption i; their spread estimates that of θ. NaN for a single caption, and for captions
        not in `known`.
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

    Clusters of captions and seeds are drawn independently with replacement; a resample contains all
    captions of its clusters under all its seeds (Owen's pigeonhole bootstrap, 2007). Tables of
    equal shape and clusters get the same resamples, so that models are compared on the same
    captions and seeds.

    Args:
        table: (captions, seeds); cells that are not finite are ignored.
        clusters: The cluster of each caption; empty if every caption is a cluster.
        count: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        (count,), NaN for resamples without a finite cell.
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
    """Count each of `number` indices in each row: (count, k) -> (count, number)."""
    counts = np.zeros((len(chosen), number))
    np.add.at(counts, (np.arange(len(chosen))[:, None], chosen), 1.0)
    return counts


def combine(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Sum estimates with weights, paired by caption and seed; missing cells propagate."""
    return Estimate(
        sum(weight * part.value for weight, part in parts),
        sum((weight * part.table for weight, part in parts), np.zeros_like(parts[0][1].table)),
        clusters=parts[0][1].clusters,
    )


def difference_of_differences(
    baseline: tuple[Estimate, Estimate], kaleido: tuple[Estimate, Estimate]
) -> Interval:
    """Estimate Kaleido's change minus the baseline's, paired by caption and seed.

    Args:
        baseline: The baseline's estimates at the lowest and the highest guidance.
        kaleido: The same for Kaleido.
    """
    parts = [(-1.0, kaleido[0]), (1.0, kaleido[1]), (1.0, baseline[0]), (-1.0, baseline[1])]
    return combine(parts).interval()


def ratio(above: Estimate, below: Estimate) -> Interval:
    """Estimate a ratio from joint resamples; NaN if the denominator is not positive."""
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
    # A single cluster has no variance between clusters: every resample equals it.
    if not finite.size or len(known) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(value, float(low), float(high))


def _means(tables: np.ndarray) -> np.ndarray:
    """Average each table's finite cells: (count, captions, seeds) -> (count,)."""
    known = np.isfinite(tables)
    count = known.sum((1, 2))
    totals = np.where(known, tables, 0.0).sum((1, 2))
    return np.where(count > 0, totals / np.maximum(count, 1), np.nan)
