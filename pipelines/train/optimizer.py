"""The optimizer: AdamW, in fp32 or with its moments in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pipelines.core.extras import import_extra
from pipelines.train.options import TrainOptions

BETAS = (0.9, 0.99)
"""As in the paper."""


def build_optimizer(
    parameters: Sequence[nn.Parameter], options: TrainOptions, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimizer that the options name.

    Args:
        parameters: What it changes.
        options: The run's options.
        device: Where the parameters are.

    Raises:
        KaleidoError: If bitsandbytes is needed and not installed (``not-installed``).
    """
    chosen: Any = {"betas": BETAS, "weight_decay": options.weight_decay}
    if options.optimizer == "adamw8bit":
        bitsandbytes = import_extra("bitsandbytes", "eight-bit")
        eight: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(
            parameters, options.learning_rate, **chosen
        )
        return eight
    fused = device.type == "cuda"
    return torch.optim.AdamW(parameters, options.learning_rate, fused=fused, **chosen)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors as ``index.field``; its numbers follow from the settings."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set an optimizer to what `optimizer_tensors` returned."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    if isinstance(optimizer, torch.optim.AdamW):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return
    # load_state_dict of bitsandbytes takes another layout than the state that it uses.
    parameters = _parameters(optimizer)
    for at, fields in state.items():
        device = parameters[at].device
        optimizer.state[parameters[at]] = {
            name: int(value) if name == "step" else value.to(device)
            for name, value in fields.items()
        }


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [value for group in optimizer.param_groups for value in group["params"]]
