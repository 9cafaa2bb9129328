"""Noise on z: items moved, labels swapped and items dropped, as a prior errs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.latents.base import Latent
from pipelines.latents.items import ItemList, LabelledList
from pipelines.latents.text import LatentError

if TYPE_CHECKING:
    import numpy as np

MOVED = 0.1
"""Standard deviation of a number at an amount of 1, as a share of its greatest value."""

SWAPPED = 0.2
"""Probability at an amount of 1 that an item's label is drawn anew."""

DROPPED = 0.2
"""Probability at an amount of 1 that an item is missing; one always stays."""


def noisy_z(
    z: Mapping[str, Latent],
    amount: float,
    rng: np.random.Generator,
    labels: Sequence[str] = (),
) -> dict[str, Latent]:
    """Return z with noise on its lists of items, each kind by itself, so that kinds disagree.

    Kinds that are no such lists, as descriptions and tokens, stay as they are.

    Args:
        z: Latents by kind.
        amount: From 0, which changes nothing, to 1; all rates are proportional to it.
        rng: Source of randomness.
        labels: What items may be called instead; empty for the labels of this z.

    Returns:
        A valid z of the same kinds in the same order.
    """
    if amount == 0.0:
        return dict(z)
    others = labels or sorted(
        {
            item.label
            for latent in z.values()
            if isinstance(latent, LabelledList)
            for item in latent.items
        }
    )
    return {
        kind: _noisy(latent, amount, rng, others) if isinstance(latent, ItemList) else latent
        for kind, latent in z.items()
    }


def _noisy(
    latent: ItemList, amount: float, rng: np.random.Generator, labels: Sequence[str]
) -> ItemList:
    kept = [item for item in latent.items if rng.random() >= DROPPED * amount]
    items = kept or [latent.items[int(rng.integers(len(latent.items)))]]
    if latent.labelled:
        items = [
            replace(item, label=labels[int(rng.integers(len(labels)))])
            if rng.random() < SWAPPED * amount
            else item
            for item in items
        ]
    try:
        return latent.moved(items, MOVED * amount, rng)
    except LatentError:  # a list of others, with rules beyond the bounds of its numbers
        return latent
