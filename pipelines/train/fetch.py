"""Batches of the steps to come, made by worker processes while a GPU computes."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset

from pipelines.core.errors import KaleidoError
from pipelines.train.signals import ignore_stop_signals

BatchT = TypeVar("BatchT")

MOST_WORKERS = 16
"""Processes that make batches. Each reads data that are not kept in memory for itself."""

AHEAD = 2
"""Batches that each of them makes ahead."""


class _Steps(Dataset[BatchT | KaleidoError]):
    """The batches of a task, by step; an error for the user is handed over like a batch."""

    def __init__(self, batch: Callable[[int, int], BatchT], size: int) -> None:
        self._batch, self._size = batch, size

    def __getitem__(self, step: int) -> BatchT | KaleidoError:
        try:
            return self._batch(step * self._size, self._size)
        except KaleidoError as error:  # DataLoader would make it again, from one text, and fail
            return error


def fetch(
    batch: Callable[[int, int], BatchT], size: int, steps: range, device: torch.device
) -> Iterator[BatchT]:
    """Make the batches of steps in their order, on a device.

    Beside a GPU all but one of the processor's cores make them ahead, from pinned memory; on a CPU,
    which has to compute as well, they are made when they are asked for.

    Args:
        batch: A task's: makes records `start` to ``start + count`` on the CPU alone, since a forked
            process cannot use CUDA.
        size: Records a step.
        steps: Which steps.
        device: Where the tensors go.

    Raises:
        KaleidoError: If `batch` does, in whichever process.
        RuntimeError: If a worker was killed; DataLoader says by which signal.
    """
    on_gpu = device.type == "cuda"
    workers = _workers() if on_gpu else 0
    if workers:  # else tokenizers, which have been used before the fork, warn and do the same
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    loader: DataLoader[BatchT | KaleidoError] = DataLoader(
        _Steps(batch, size),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=on_gpu,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_start_worker,
    )
    for made in _forked(loader):
        if isinstance(made, KaleidoError):
            raise made
        yield send_to_device(made, device, non_blocking=on_gpu)


def _workers() -> int:
    if "fork" not in multiprocessing.get_all_start_methods():  # what is forked need not be pickled
        return 0
    return min(len(os.sched_getaffinity(0)) - 1, MOST_WORKERS)


def _start_worker(index: int) -> None:
    ignore_stop_signals()


def _forked(loader: DataLoader[BatchT | KaleidoError]) -> Iterator[BatchT | KaleidoError]:
    with warnings.catch_warnings():
        # Python warns of every fork beside threads. The workers use none of the parent's locks.
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        return iter(loader)
