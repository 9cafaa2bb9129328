"""What a model brings to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pipelines.train.noise import Noise
from pipelines.train.ranks import Ranks


class Task(ABC):
    """A model with its batches and its loss.

    Attributes:
        model: The module that is trained, averaged and checkpointed.
        terms: Number of terms of the loss that are means over different things, see `weigh`.
    """

    model: nn.Module
    terms: int = 1

    def to(self, device: torch.device) -> None:
        """Move the model, and whatever else the loss needs, to a device; called once."""
        self.model.to(device)

    @abstractmethod
    def batch(self, start: int, count: int) -> Any:
        """Return examples `start` to ``start + count`` of an endless, seeded order, on the CPU.

        It may run in another process, ahead of the training (`pipelines.train.fetch`).
        """

    def weigh(self, batch: Any, count: int) -> tuple[float, ...]:
        """Return the weight of each term of a micro-batch's loss.

        The loss of a step is the mean over its micro-batches, by these weights: the number of
        records, unless a term is a mean over something else, such as tokens.

        Args:
            batch: From `batch`, before it is moved to a device.
            count: Its number of records.
        """
        return (float(count),)

    @abstractmethod
    def loss(self, batch: Any, noise: Noise) -> torch.Tensor:
        """Return the mean loss of a batch, without changing the model's state.

        Args:
            batch: From `batch`, on the model's device.
            noise: The only source of randomness but dropout, on the same device.

        Returns:
            A scalar, or the terms whose sum it is, (terms,): as many as `weigh` returns.
        """

    def before_step(  # noqa: B027
        self, batches: Sequence[Any], owners: Sequence[tuple[int, int]], noise: Noise, ranks: Ranks
    ) -> None:
        """Update state that no gradient reaches, before the losses of a step.

        Args:
            batches: This rank's micro-batches.
            owners: For each micro-batch of the step: its rank, and its number of records.
            noise: Of the whole step, equal on all ranks.
            ranks: Must all come to the same state.
        """

    def after_step(self, ranks: Ranks) -> None:  # noqa: B027
        """Update state that no gradient reaches, after the optimizer's step."""

    def blocks(self) -> Sequence[nn.Module]:
        """Return the parts of the model that can be checkpointed and compiled on their own."""
        return ()

    def shards(self) -> Sequence[nn.Module]:
        """Return the modules whose weights several ranks can divide (FSDP)."""
        return ()

    def held_out(self) -> tuple[Task, int]:
        """Return the same task on held-out records, and their number; 0 if there are none."""
        return self, 0

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of the records in a batch; empty if the examples have none."""
        return []
