"""Temporary folders and semaphores that do not outlive their process for long.

A killed process (SIGKILL, a power cut) cannot remove them. Their names hold its id, so that the
next start of any command that makes some finds and removes those of dead processes.
"""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_SEMAPHORES = Path("/dev/shm")
"""Where Linux keeps named semaphores; elsewhere they cannot be listed."""

_MARKER = "made-by-kaleido"
"""A file in each folder, so that no other folder of such a name is ever removed."""


@cache
def process_folder() -> Path:
    """Return this process's temporary folder; it is removed when the process ends."""
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=f"kaleido-process-{_here()}-{os.getpid()}-"))
    (folder / _MARKER).touch()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def named_semaphores() -> Iterator[None]:
    """Let multiprocessing give semaphores made inside this context names with the process id."""
    remove_orphans()
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = config.get("semprefix")
    config["semprefix"] = f"/kld{_here()}-{os.getpid()}"  # macOS allows 31 characters
    try:
        yield
    finally:
        config["semprefix"] = before


def remove_orphans() -> None:
    """Remove the folders and semaphores of processes that no longer live on this machine."""
    if os.name == "nt":
        return  # there os.kill(pid, 0) would not ask, it would send Ctrl-C
    folders = re.compile(rf"kaleido-process-{_here()}-(\d+)-[a-z0-9_]{{8}}")
    for path in _of_dead(Path(tempfile.gettempdir()), folders):
        if (path / _MARKER).is_file():
            shutil.rmtree(path, ignore_errors=True)
    for path in _of_dead(_SEMAPHORES, re.compile(rf"sem\.kld{_here()}-(\d+)-[a-z0-9_]{{8}}")):
        path.unlink(missing_ok=True)


@cache
def _here() -> str:
    """Return a name for this host and its space of process ids, which containers may share."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:6]


def _of_dead(place: Path, form: re.Pattern[str]) -> Iterator[Path]:
    """Yield this user's entries of a name whose process id is that of no living process."""
    try:
        names = os.listdir(place)
    except OSError:
        return
    for name in names:
        match = form.fullmatch(name)
        path = place / name
        if match and not path.is_symlink() and _is_mine(path) and not _lives(int(match[1])):
            yield path


def _is_mine(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:
        return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
