"""What a model brings to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn


class Task(ABC):
    """A model with its batches and its loss.

    Attributes:
        model: The module that is trained, averaged and checkpointed.
    """

    model: nn.Module

    def to(self, device: torch.device) -> None:
        """Move the model, and whatever else the loss needs, to a device; called once."""
        self.model.to(device)

    @abstractmethod
    def batch(self, start: int, count: int) -> Any:
        """Return examples `start` to ``start + count`` of an endless, seeded order, on the CPU.

        It may run in another process, ahead of the training (`pipelines.train.fetch`).
        """

    @abstractmethod
    def loss(self, batch: Any, rng: torch.Generator) -> torch.Tensor:
        """Return the mean loss of a batch, a scalar, without changing the model's state.

        Args:
            batch: From `batch`, on the model's device.
            rng: The only source of noise, on the same device.
        """

    def before_step(self, batch: Any, rng: torch.Generator) -> None:  # noqa: B027
        """Update state that no gradient reaches, before the loss of a step."""

    def after_step(self) -> None:  # noqa: B027
        """Update state that no gradient reaches, after the optimizer's step."""

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of the records in a batch; empty if the examples have none."""
        return []
