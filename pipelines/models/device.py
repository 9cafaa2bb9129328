"""Where networks compute when they are not trained, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipelines.core.processes import worker_number


def compute_device() -> torch.device:
    """The GPU if there is one, else the CPU; of several GPUs worker processes take each its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", worker_number() % torch.cuda.device_count())


@contextmanager
def in_fp32() -> Iterator[None]:
    """Convolve in fp32 on a GPU too, where cuDNN would round factors to the ten bits of TF32.

    Products of matrices are in fp32 anyway. So a seed means the same picture, and a picture the
    same latents, on every device, but for the order of sums. Afterwards the precision is what it
    was, but set, no longer inherited from ``torch.backends.fp32_precision``. Within, torch refuses
    to tell or to change the older switch, ``torch.backends.cudnn.allow_tf32``.
    """
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before
