"""Prepare the next batches in worker processes while a GPU computes."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset

from pipelines.core.errors import KaleidoError
from pipelines.train.signals import ignore_stop_signals

BatchT = TypeVar("BatchT")

MOST_WORKERS = 16
"""Number of worker processes. Each reads its own copy of data that are not kept in memory."""

AHEAD = 2
"""Batches that each worker prepares ahead."""


class _Batches(Dataset[BatchT | KaleidoError]):
    """The batches of a task by position; a user error is returned like a batch."""

    def __init__(self, batch: Callable[[int, int], BatchT]) -> None:
        self._batch = batch

    def __getitem__(self, positions: range) -> BatchT | KaleidoError:
        try:
            return self._batch(positions.start, len(positions))
        except KaleidoError as error:  # DataLoader cannot reconstruct its type from one message
            return error


def fetch(
    batch: Callable[[int, int], BatchT], wanted: Iterable[range], device: torch.device
) -> Iterator[BatchT]:
    """Yield batches on a device.

    With a GPU, worker processes on all CPU cores but one prepare batches ahead, in pinned memory.
    On a CPU, which also computes the steps, batches are made on demand.

    Args:
        batch: Makes a batch of `count` records from `start` on, on the CPU, because a forked
            process cannot use CUDA.
        wanted: The positions of each batch.
        device: Device of the tensors.

    Raises:
        KaleidoError: If `batch` raises it, in any process.
        RuntimeError: If a worker was killed; DataLoader names the signal.
    """
    on_gpu = device.type == "cuda"
    workers = _workers() if on_gpu else 0
    if workers:  # tokenizers used before a fork warn and disable parallelism unless this is set
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    loader: DataLoader[BatchT | KaleidoError] = DataLoader(
        _Batches(batch),
        batch_size=None,
        sampler=wanted,
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
    if "fork" not in multiprocessing.get_all_start_methods():  # forked objects need not be pickled
        return 0
    # Several ranks on a machine share its cores.
    share = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(min(share - 1, MOST_WORKERS), 0)


def _start_worker(index: int) -> None:
    ignore_stop_signals()


def _forked(loader: DataLoader[BatchT | KaleidoError]) -> Iterator[BatchT | KaleidoError]:
    with warnings.catch_warnings():
        # Python warns about forks in multi-threaded processes; workers use no lock of the parent.
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        return iter(loader)
