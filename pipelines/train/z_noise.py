"""Noise on the z of training records, as much of it as each record draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents.noise import noisy_z


def with_noise(
    records: Sequence[Record], start: int, most: float, seed: int, labels: Collection[str] = ()
) -> tuple[Sequence[Record], torch.Tensor]:
    """Put noise on z; a record's amount and noise follow from (seed, its position).

    Args:
        records: Records of the stream.
        start: Position of the first one.
        most: Largest amount; amounts are uniform from 0 to it.
        seed: The run's seed.
        labels: See `noisy_z`; in any order.

    Returns:
        The records, and the amount of each, (n,).
    """
    if not most:
        return records, torch.zeros(len(records))
    noisy, amounts, names = [], [], sorted(labels)
    for position, record in enumerate(records, start):
        rng = generator(seed, "z noise", position)
        amounts.append(most * rng.random())
        latents = noisy_z(record.latents, amounts[-1], rng, names)
        noisy.append(replace(record, latents=latents))
    return noisy, torch.tensor(amounts)
