"""A network namespace that has a loopback interface alone: elsewhere Ray binds to another one."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
from functools import cache

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41

RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Environment of nodes: by itself Ray gives its processes the least time of a busy machine."""


@cache
def has_namespaces() -> bool:
    """Return whether this user may make one."""
    try:
        return subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def bring_loopback_up() -> None:
    """Bring up the loopback interface of the namespace in which this program runs."""
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP_RUNNING))
