"""Objects that z asks for, beside those that the judge found in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IOU = 0.5
"""Least intersection over union of two places that count as one."""


@dataclass(frozen=True)
class Kept:
    """What became of the objects that z asks for.

    Attributes:
        asked: How many there are.
        pairs: Of each one that was found: ``iou``, and other measures by name; NaN where one is
            not defined.
        extra: Objects of the picture that z does not ask for.
    """

    asked: int
    pairs: tuple[Mapping[str, float], ...]
    extra: int

    @property
    def found(self) -> int:
        """How many were found."""
        return len(self.pairs)

    @property
    def share(self) -> float:
        """Found as a share of asked; NaN if none was asked for."""
        return self.found / self.asked if self.asked else float("nan")


def total(parts: Sequence[Kept]) -> Kept:
    """Add what became of the objects of several pictures."""
    return Kept(
        sum(part.asked for part in parts),
        tuple(pair for part in parts for pair in part.pairs),
        sum(part.extra for part in parts),
    )


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two (x1, y1, x2, y2) boxes; 0 where both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union if union > 0 else 0.0


def best_pairs(overlaps: np.ndarray, least: float = IOU) -> list[tuple[int, int]]:
    """Pair rows with columns, one to one, the greatest overlap first.

    Args:
        overlaps: (rows, columns), 0 where two may not be paired.
        least: Smaller overlaps are no pairs.
    """
    pairs: list[tuple[int, int]] = []
    rows, columns = set(range(overlaps.shape[0])), set(range(overlaps.shape[1]))
    for place in np.argsort(-overlaps, axis=None, kind="stable"):
        row, column = divmod(int(place), overlaps.shape[1])
        if overlaps[row, column] >= least and row in rows and column in columns:
            pairs.append((row, column))
            rows.remove(row)
            columns.remove(column)
    return pairs


def measures(kind: str, parts: Sequence[Kept], names: Sequence[str]) -> dict[str, float]:
    """Metrics of a caption's pictures under one seed.

    Args:
        kind: Of z.
        parts: One a picture whose z has that kind.
        names: Of the measures of a pair.

    Returns:
        ``KIND``, the share of z's objects that were found; ``KIND.missing`` and ``KIND.extra``,
        a picture's mean number; and the mean of each measure over those found. NaN where there is
        nothing to average.
    """
    kept, pictures = total(parts), len(parts) or float("nan")
    values = {
        kind: kept.share,
        f"{kind}.missing": (kept.asked - kept.found) / pictures,
        f"{kind}.extra": kept.extra / pictures,
    }
    for name in names:
        known = [pair[name] for pair in kept.pairs if np.isfinite(pair[name])]
        values[f"{kind}.{name}"] = float(np.mean(known)) if known else float("nan")
    return values
