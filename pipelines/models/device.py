"""Device and precision of networks outside of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipelines.core.compute import chosen_device
from pipelines.core.errors import KaleidoError
from pipelines.core.processes import worker_number


def compute_device() -> torch.device:
    """Return the chosen device, or else the GPU if there is one.

    Of several GPUs each worker process takes its own.

    Raises:
        KaleidoError: If the chosen device does not exist.
    """
    if (name := chosen_device()) != "auto":
        return _require_device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", worker_number() % torch.cuda.device_count())


def _require_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise KaleidoError(
            f"device {name!r}",
            f"torch cannot use it ({str(error).strip().splitlines()[0]}).",
            "`kaleido doctor` lists the devices.",
            code="bad-setting",
        ) from error
    return device


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
