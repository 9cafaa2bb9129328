"""Where and with how many threads networks compute: settings that must precede torch's import."""

from __future__ import annotations

import math
import os
from pathlib import Path

DEVICE = "KALEIDO_DEVICE"
"""Environment variable with the device; worker processes inherit it."""

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Let OpenMP threads sleep while they wait for each other, for GNU's, Intel's and LLVM's library.

By default they spin. Beside other programs the thread that is waited for is then often not running,
and the spinning ones take its time: with two threads on two cores at a load of 9, training steps of
small networks came at 0.45 a second spinning, 2.2 with one thread, and 12.6 sleeping.
`benchmarks/busy_machine.py` measures it.
"""


def prepare_threads(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> None:
    """Set the environment of the numerical libraries, unless the user has.

    Args:
        quota: The file in which Linux grants a container a part of the processors; OpenMP knows
            nothing of it and would start a thread per core of the host.
    """
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)
    try:
        granted, period = quota.read_text("ascii").split()
        threads = math.ceil(int(granted) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return
    if threads < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def choose_device(name: str) -> None:
    """Choose where the networks of this process and its workers compute.

    Args:
        name: ``auto``, or a device of torch, such as ``cpu`` or ``cuda:1``.
    """
    if name != "auto":
        os.environ[DEVICE] = name
        os.environ["ACCELERATE_TORCH_DEVICE"] = name  # accelerate moves what is trained


def chosen_device() -> str:
    """Return the chosen device, or ``auto``."""
    return os.environ.get(DEVICE, "auto")
