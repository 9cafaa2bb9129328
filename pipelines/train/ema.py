"""The exponential moving average of a model, and the tensors that a run saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """An exponential moving average of a model's parameters and float buffers, in fp32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = averaged(model)
        self.tensors = {name: value.detach().float().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model after a step; in early steps the average is shorter."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        live = [value.detach().float() for value in self._live.values()]
        # One operation for all tensors: a launch for each would cost more than the averaging.
        get_ema_multi_avg_fn(decay)(list(self.tensors.values()), live, step)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the model be the average for a while."""
        live = {name: value.detach().clone() for name, value in self._live.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self._live.items():
                    value.copy_(live[name])

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Set the model to the average."""
        for name, value in self._live.items():
            value.copy_(self.tensors[name])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name; frozen ones are left out.

    Of those that FSDP divides, this rank's parts, which share its memory.
    """
    learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return {
        name: value.to_local() if isinstance(value, DTensor) else value
        for name, value in learned.items()
    }


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the persistent buffers of a model by name, for example BatchNorm's statistics."""
    saved = model.state_dict(keep_vars=True)
    return {name: value for name, value in model.named_buffers() if name in saved}


def averaged(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that `Ema` averages; integer buffers, which only count, are left out."""
    floats = {name: value for name, value in buffers(model).items() if value.is_floating_point()}
    return {**trainable(model), **floats}
