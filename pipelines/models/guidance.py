"""Classifier-free guidance."""

from __future__ import annotations

import torch


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance, g · (cond − uncond) + uncond (arXiv 2207.12598; Kaleido eq. 8).

    Args:
        conditional: Prediction under (z, c).
        unconditional: Prediction under the null condition, which drops both.
        scale: g; 1 is plain conditional sampling.
    """
    return unconditional + scale * (conditional - unconditional)
