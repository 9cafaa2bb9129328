"""Precision of training: bf16 on hardware that supports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.core.errors import KaleidoError, nearest
from pipelines.workspace.settings import PRECISIONS


def resolve_precision(asked: str, device: torch.device) -> str:
    """Resolve ``auto`` to ``bf16`` or ``fp32``; emulated bf16 is far slower than fp32.

    Raises:
        KaleidoError: If `asked` is not in `PRECISIONS`.
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
    """Run the forward pass in a precision; weights and gradients stay in fp32.

    Args:
        precision: ``bf16`` or ``fp32``.
        device: Device of the model.
    """
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        if device.type != "cpu":
            yield
            return
        # On CPUs, the backward pass of fused attention is four times slower in bf16 than in fp32.
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)
