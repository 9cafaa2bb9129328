"""Match the objects that z asks for with those that the judge found in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kept:
    """The result of matching the objects of z with those of a picture.

    Attributes:
        asked: Number of objects in z.
        pairs: For each object found, ``iou`` and other measures by name; NaN where undefined.
        extra: Number of objects in the picture that z does not ask for.
    """

    asked: int
    pairs: tuple[Mapping[str, float], ...]
    extra: int

    @property
    def found(self) -> int:
        """Number of objects of z that were found."""
        return len(self.pairs)

    @property
    def share(self) -> float:
        """Share of the objects of z that were found; NaN if z has no objects."""
        return self.found / self.asked if self.asked else float("nan")


def total(parts: Sequence[Kept]) -> Kept:
    """Add up the results of several pictures."""
    return Kept(
        sum(part.asked for part in parts),
        tuple(pair for part in parts for pair in part.pairs),
        sum(part.extra for part in parts),
    )


def measures(kind: str, parts: Sequence[Kept], names: Sequence[str]) -> dict[str, float]:
    """Compute the metrics of a caption's pictures under one seed.

    Args:
        kind: Kind of latent.
        parts: One result for each picture whose z has this kind.
        names: Names of the measures of a pair.

    Returns:
        ``KIND``, the share of z's objects that were found; ``KIND.missing`` and ``KIND.extra``,
        mean numbers per picture; and the mean of each measure over the objects found. NaN where
        there is nothing to average.
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
