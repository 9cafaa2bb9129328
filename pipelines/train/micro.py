"""Divide a step into micro-batches and deal them to the ranks.

A step is the same whoever computes it: micro-batches are cut by position, and only their sums meet.
So gradient accumulation, several processes, and resuming on another number of them are one thing.
"""

from __future__ import annotations

from pipelines.train.options import TrainOptions
from pipelines.train.ranks import Ranks


def micro_size(options: TrainOptions, ranks: Ranks) -> int:
    """Return the records in a micro-batch: as chosen, or a step's equal share of a rank."""
    return min(options.micro_batch or -(-options.batch_size // ranks.size), options.batch_size)


def micro_batches(step: int, options: TrainOptions, ranks: Ranks) -> list[range]:
    """Return the positions of each micro-batch of a step, in order."""
    whole, size = step_positions(step, options), micro_size(options, ranks)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def dealt(step: int, options: TrainOptions, ranks: Ranks) -> list[range]:
    """Return the micro-batches of a step that this rank computes; it may have none."""
    return micro_batches(step, options, ranks)[ranks.rank :: ranks.size]


def step_positions(step: int, options: TrainOptions) -> range:
    """Return the positions of a step's records in the stream."""
    return range(step * options.batch_size, (step + 1) * options.batch_size)
