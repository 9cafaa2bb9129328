"""A step's records are cut by position and dealt: each record once, whoever computes it."""

from __future__ import annotations

import pytest

from pipelines.train.micro import dealt, micro_batches, micro_size, step_positions
from pipelines.train.options import TrainOptions
from pipelines.train.ranks import Ranks


def options(batch_size: int, micro_batch: int = 0) -> TrainOptions:
    return TrainOptions(9, batch_size, 1e-3, 0, 0, micro_batch=micro_batch)


def test_a_step_by_hand() -> None:
    two = options(8, 3)
    assert step_positions(0, two) == range(0, 8)
    assert step_positions(5, two) == range(40, 48)
    assert micro_batches(5, two, Ranks(1, 2)) == [range(40, 43), range(43, 46), range(46, 48)]
    assert dealt(5, two, Ranks(0, 2)) == [range(40, 43), range(46, 48)]
    assert dealt(5, two, Ranks(1, 2)) == [range(43, 46)]
    assert dealt(0, options(2), Ranks(2, 3)) == []


@pytest.mark.parametrize(
    ("batch", "micro", "ranks", "size"),
    [(8, 0, 1, 8), (8, 0, 2, 4), (8, 0, 3, 3), (7, 0, 2, 4), (8, 3, 2, 3), (8, 9, 1, 8)],
)
def test_a_micro_batch_is_as_chosen_or_a_ranks_share(batch, micro, ranks, size) -> None:
    assert micro_size(options(batch, micro), Ranks(0, ranks)) == size
