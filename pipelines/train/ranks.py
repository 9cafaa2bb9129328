"""The processes that train one model together: each is a rank, and the first one writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import distributed, nn

from pipelines.core.compute import chosen_device
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.models.device import compute_device

TIMEOUT = timedelta(minutes=30)
"""Longest wait for another rank: while the first one saves, or reads the data."""

BUCKET = 2**24
"""Values of gradients that are summed in one message."""


class Ranks(NamedTuple):
    """This process among those that train together.

    Sums are taken over all ranks. With one rank they cost nothing.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that holds the lock, writes and reports."""
        return self.rank == 0

    def listener(self, progress: Progress) -> Progress:
        """Return who hears of the progress: nobody but the first rank's listener."""
        return progress if self.first else SILENT

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.largest([0])

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over the ranks, for example the signals that came."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.int64)  # on the CPU: it waits for no GPU
        with _lost_ranks():
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return [int(value) for value in found]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the ranks, in place."""
        if self.size > 1:
            with _lost_ranks():
                distributed.all_reduce(values)
        return values

    def gather(self, rows: torch.Tensor, owners: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Join rows that lie on several ranks.

        Args:
            rows: This rank's, (m, width), in the order of `owners`.
            owners: For each part of the whole in order: its rank, and its number of rows.
        """
        if self.size == 1:
            return rows
        whole = rows.new_zeros(sum(count for _, count in owners), rows.shape[1])
        at = taken = 0
        for rank, count in owners:
            if rank == self.rank:
                whole[at : at + count] = rows[taken : taken + count]
                taken += count
            at += count
        return self.sum(whole)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over the ranks; what has none on any rank keeps none."""
        if self.size == 1:
            return
        has = self.largest([int(value.grad is not None) for value in parameters])
        bucket: list[torch.Tensor] = []
        for parameter, present in zip(parameters, has, strict=True):
            if not present:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(each.numel() for each in bucket) >= BUCKET:
                self._sum_bucket(bucket)
                bucket = []
        self._sum_bucket(bucket)

    def _sum_bucket(self, bucket: Sequence[torch.Tensor]) -> None:
        if not bucket:
            return
        flat = self.sum(torch.cat([each.flatten() for each in bucket]))
        for each, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            each.copy_(part.view_as(each))


ALONE = Ranks()
"""The only process."""


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Join the processes that `kaleido train --processes`, torchrun or accelerate have started.

    A rank that leaves with an error does not wait for the others: their launcher ends them.

    Raises:
        KaleidoError: If one device is chosen for several processes, or they do not find each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or distributed.is_initialized():
        yield Ranks(distributed.get_rank(), size) if size > 1 else ALONE
        return
    device = rank_device()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise KaleidoError(
            "training",
            f"its {size} processes do not find each other ({str(error).splitlines()[0]}).",
            "Start them with `kaleido train … --processes`, torchrun or accelerate launch.",
            code="worker-died",
        ) from error
    yield Ranks(distributed.get_rank(), size)
    distributed.destroy_process_group()


def rank_device() -> torch.device:
    """Return the device of this rank: each takes its own of several GPUs.

    Raises:
        KaleidoError: If the chosen device does not exist, or several processes would share it.
    """
    device = compute_device()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or device.type != "cuda":
        return device
    if device.index is not None and chosen_device() != "auto":
        raise KaleidoError(
            f"compute.device = {chosen_device()!r}",
            "several processes cannot share one GPU.",
            "Set it to auto or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs.",
            code="bad-setting",
        )
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise KaleidoError(
            f"process {number}",
            f"this machine has {torch.cuda.device_count()} GPUs for the processes.",
            "Start one process for each GPU.",
            code="bad-option",
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def _lost_ranks() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise KaleidoError(
            "training",
            "another of its processes has ended or does not answer.",
            "Its own error says why; the same command resumes from the last checkpoint.",
            code="worker-died",
        ) from error
