"""Device and precision of networks outside of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipelines.core.processes import worker_number


def compute_device() -> torch.device:
    """Return the GPU if there is one, else the CPU; worker processes share out several GPUs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", worker_number() % torch.cuda.device_count())


@contextmanager
def in_fp32() -> Iterator[None]:
    """Compute convolutions in full fp32 on a GPU, where cuDNN would use TF32 by default.

    Matrix products are in fp32 anyway. So a seed gives the same image, and an image the same
    latents, on every device, up to the order of sums. Afterwards the precision has its former
    value, but as set, no longer inherited from ``torch.backends.fp32_precision``. Inside, torch
    refuses access to the older switch, ``torch.backends.cudnn.allow_tf32``.
    """
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before
