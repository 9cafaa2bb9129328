"""The precision of training: bf16 where the hardware has units for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.core.errors import KaleidoError, nearest
from pipelines.workspace.settings import PRECISIONS


def resolve_precision(asked: str, device: torch.device) -> str:
    """Turn ``auto`` into ``bf16`` or ``fp32``: bf16 without units is far slower than fp32.

    Raises:
        KaleidoError: If `asked` is none of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        raise KaleidoError(f"precision {asked!r}", "it is unknown.", nearest(asked, PRECISIONS))
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return "fp32"


@contextmanager
def mixed_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Compute the forward pass in a precision; weights and their gradients stay in fp32.

    Args:
        precision: ``bf16`` or ``fp32``.
        device: Where the model is.
    """
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        if device.type != "cpu":
            yield
            return
        # On CPUs the fused attention's backward pass in bf16 costs four times that in fp32.
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)
