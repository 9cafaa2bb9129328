"""Batches arrive in the order of their steps."""

from __future__ import annotations

import multiprocessing
from typing import NamedTuple

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.train.fetch import fetch


class Batch(NamedTuple):
    """As a task's: a tensor, something that may be missing, and a value."""

    rows: torch.Tensor
    missing: torch.Tensor | None
    start: int


def _steps(first: int, end: int) -> list[range]:
    return [range(3 * step, 3 * step + 3) for step in range(first, end)]


def _batch(start: int, count: int) -> Batch:
    return Batch(torch.arange(start, start + count), None, start)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_come_in_the_order_of_the_steps(device) -> None:
    batches = list(fetch(_batch, _steps(2, 40), torch.device(device)))
    assert [batch.start for batch in batches] == list(range(6, 120, 3))
    assert torch.cat([batch.rows for batch in batches]).tolist() == list(range(6, 120))
    assert {batch.rows.device.type for batch in batches} == {device}
    assert {(type(batch), batch.missing) for batch in batches} == {(Batch, None)}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_error_for_the_user_arrives_as_it_was(device) -> None:
    def damaged(start: int, count: int) -> Batch:
        raise KaleidoError("shard 3", "it is damaged.", "Make it again.")

    with pytest.raises(KaleidoError) as caught:
        next(fetch(damaged, _steps(0, 4), torch.device(device)))
    assert (caught.value.what, caught.value.hint) == ("shard 3", "Make it again.")


@pytest.mark.gpu
def test_workers_end_with_the_run_that_asked_for_them() -> None:
    batches = fetch(_batch, _steps(0, 100), torch.device("cuda"))
    next(batches)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()


def test_a_run_that_is_finished_asks_for_nothing() -> None:
    def never(start: int, count: int) -> Batch:
        raise AssertionError("no step is left")

    assert list(fetch(never, [], torch.device("cpu"))) == []
