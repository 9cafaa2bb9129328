"""One writer at a time: a lock file that names its holder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import KaleidoError


@contextmanager
def lock(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock file `path`.

    A lock whose process no longer lives on this host is taken over. A lock of another host is never
    taken over, because nothing here can tell whether that process still lives; nor is any on
    Windows, where the standard library cannot tell it of this host.

    Args:
        path: The lock file; its folder is made.
        purpose: What is being written, for the message that another writer gets.

    Raises:
        KaleidoError: If another writer holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    holder = {"pid": pid, "host": socket.gethostname(), "start": _start(pid), "purpose": purpose}
    content = json.dumps(holder).encode()
    while not _create(path, content):
        _remove_stale(path, purpose)
    try:
        yield
    finally:
        if _read(path) == content:
            path.unlink(missing_ok=True)


def _create(path: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)  # on a full disk: an empty lock would name no holder
        raise
    return True


def _remove_stale(path: Path, purpose: str) -> None:
    """Remove the lock if its holder is dead, or raise KaleidoError."""
    content = _read(path)
    if content is None:
        return
    try:
        holder = json.loads(content)
        pid, host, start = int(holder["pid"]), str(holder["host"]), str(holder["start"])
    except (ValueError, TypeError, KeyError):
        pid, host, start = 0, "", ""
    if not pid or host != socket.gethostname() or _lives(pid, start):
        raise KaleidoError(
            str(path),
            f"{purpose} is being written by "
            + (f"process {pid} on {host}." if pid else "another process."),
            "Wait for it to end; if it is dead, delete this file.",
        )
    # Two runs may find the same stale lock: whoever moved a newer one away by mistake puts it back.
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) == content:
        aside.unlink()
    else:
        os.rename(aside, path)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _lives(pid: int, start: str) -> bool:
    if os.name == "nt":
        return True  # there os.kill(pid, 0) would not ask, it would send Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start(pid) == start


def _start(pid: int) -> str:
    """Return when a process began, in clock ticks since boot, or "" where the system does not say.

    After a restart of the machine another process may carry the same id.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
