"""Calibration: whether drawn z match the data's distribution of counts, places, sizes and colours.

A prior may write valid z and still prefer some values, such as three objects, the centre, or large
sizes. The shares over all drawn z, compared with those of real pictures, show such a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.core.seeds import generator
from pipelines.evaluate.adherence.boxes import boxes_of
from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.evaluate.metrics.statistics import Estimate, jackknife
from pipelines.evaluate.observe import Observed
from pipelines.latents.blobs import Blobs
from pipelines.latents.palette import Palette
from pipelines.latents.text import GRID

MOST_COUNTED = 20
"""Larger numbers of objects are counted as this number."""

PLACES = 3
"""Columns and rows of the grid in which centres are counted."""

SIZE_BINS = 16
"""Bins of an object's size: the square root of its area as a fraction of the side."""

COLOUR_BINS = 6
"""Bins of each OKLab axis, in a palette's units."""

SHUFFLES = 20
"""Number of random splits of the pooled drawn and real z, for the floor."""


def calibration(drawn: Observed, real: Observed) -> dict[str, Estimate]:
    """Compare the value shares of drawn z with those of real pictures' z.

    Args:
        drawn: Drawn pictures with z.
        real: Real pictures of the same captions, with z.

    Returns:
        ``z.calibration.FACTOR``: total variation over all captions together, from 0 (equal shares)
        to 1; ``z.calibration.FACTOR.floor``: its mean when each caption's drawn and real z are
        pooled and split at random, which is above 0 for finite samples. Factors: ``count``,
        ``place`` and ``size`` of boxes, or of blobs if there are no boxes, and the palette's
        ``colour``; each over the captions for which both sides have it.
    """
    values: dict[str, Estimate] = {}
    for factor, shares_of in FACTORS.items():
        ours, theirs = ([_rows(by_seed, shares_of) for by_seed in side.z] for side in (drawn, real))
        if any(len(a) and len(b) for a, b in zip(ours, theirs, strict=True)):
            values |= _estimates(factor, ours, theirs, drawn.features.shape[1])
    return values


def _estimates(
    factor: str, drawn: Sequence[np.ndarray], real: Sequence[np.ndarray], seeds: int
) -> dict[str, Estimate]:
    """Compute one factor's distance and floor from the shares of each z by caption, (n, bins)."""
    rng = generator(0, "calibration", factor)
    known = [i for i, pair in enumerate(zip(drawn, real, strict=True)) if all(map(len, pair))]
    mixed = [np.concatenate([drawn[i], real[i]]) for i in known]
    floors = []
    for _ in range(SHUFFLES):
        dealt = [rng.permutation(rows) for rows in mixed]
        sides = [
            (rows[: len(drawn[i])], rows[len(drawn[i]) :])
            for i, rows in zip(known, dealt, strict=True)
        ]
        floors.append(_distance(sides))
    distance = jackknife(
        lambda kept: _distance([(drawn[i], real[i]) for i in kept]), len(drawn), known
    )
    floor = float(np.mean(floors)), np.full(len(drawn), np.nan)  # one pooled sample: no interval
    return {
        f"z.calibration.{factor}": Estimate.of_captions(*distance, seeds),
        f"z.calibration.{factor}.floor": Estimate.of_captions(*floor, seeds),
    }


def _distance(sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Compute the total variation between mean shares, with equal weights for all captions."""
    p, q = np.mean([(a.mean(0), b.mean(0)) for a, b in sides], axis=0)
    return float(np.abs(p - q).sum() / 2.0)


def _rows(
    by_seed: Sequence[Sequence[str]], shares_of: Callable[[str], np.ndarray | None]
) -> np.ndarray:
    """Return the shares of each z that has the factor: (n, bins), n >= 0."""
    found = [shares_of(z) for group in by_seed for z in group]
    return np.array([shares for shares in found if shares is not None])


def _objects(z: str) -> np.ndarray:
    """Return centre and size of each object as fractions of the side: float (n, 3)."""
    found = [
        ((b.x1 + b.x2) / 2, (b.y1 + b.y2) / 2, ((b.x2 - b.x1) * (b.y2 - b.y1)) ** 0.5)
        for b in boxes_of(z)
    ]
    if not found and (blobs := latent_of(z, Blobs)):
        found = [(b.xc, b.yc, (np.pi * b.r_major * b.r_minor) ** 0.5) for b in blobs.items]
    return np.array(found, dtype=np.float64).reshape(-1, 3) / GRID


def _counts(z: str) -> np.ndarray | None:
    number = len(_objects(z))
    return _histogram(np.array([min(number, MOST_COUNTED)]), MOST_COUNTED + 1) if number else None


def _places(z: str) -> np.ndarray | None:
    objects = _objects(z)
    column, row = _bins(objects[:, :2], PLACES).T
    return _histogram(row * PLACES + column, PLACES**2) if len(objects) else None


def _sizes(z: str) -> np.ndarray | None:
    objects = _objects(z)
    return _histogram(_bins(objects[:, 2], SIZE_BINS), SIZE_BINS) if len(objects) else None


def _colours(z: str) -> np.ndarray | None:
    palette = latent_of(z, Palette)
    if palette is None:
        return None
    axes = np.array([(c.lightness, c.a, c.b) for c in palette.items]) / GRID
    cells = np.ravel_multi_index(tuple(_bins(axes, COLOUR_BINS).T), (COLOUR_BINS,) * 3)
    return _histogram(cells, COLOUR_BINS**3, np.array([c.weight for c in palette.items]))


def _bins(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of equal bins of [0, 1]."""
    return np.clip((values * count).astype(int), 0, count - 1)


def _histogram(bins: np.ndarray, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of each bin: float (count,), summing to 1."""
    totals = np.bincount(bins, weights, count)
    return totals / totals.sum()


FACTORS: dict[str, Callable[[str], np.ndarray | None]] = {
    "count": _counts,
    "place": _places,
    "size": _sizes,
    "colour": _colours,
}
"""Factor -> function that returns the value shares of a z, or None if the z does not have it."""
