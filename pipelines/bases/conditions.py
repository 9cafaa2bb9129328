"""Rows of conditions, joined and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition


def join(parts: Sequence[Condition]) -> Condition:
    """Join the rows of conditions of one family.

    Shorter texts are padded with zeros, in their mask as well: families whose texts differ in
    length have one.
    """
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def take(condition: Condition, indices: Sequence[int]) -> Condition:
    """Choose rows, which may be repeated."""
    return {
        name: [value[index] for index in indices]
        if isinstance(value, list)
        else value[torch.tensor(indices, device=value.device)]
        for name, value in condition.items()
    }


def moved(condition: Condition, device: torch.device) -> Condition:
    """Move the rows of a condition to a device."""

    def move(value: Any) -> Any:
        return [each.to(device) for each in value] if isinstance(value, list) else value.to(device)

    return {name: move(value) for name, value in condition.items()}


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], list):
        return [row for value in values for row in value]
    if values[0].dim() < 2 or len({value.shape[1] for value in values}) == 1:
        return torch.cat(list(values))
    longest = max(value.shape[1] for value in values)
    return torch.cat([_padded(value, longest) for value in values])


def _padded(value: torch.Tensor, length: int) -> torch.Tensor:
    missing = value.new_zeros(len(value), length - value.shape[1], *value.shape[2:])
    return torch.cat([value, missing], 1)
