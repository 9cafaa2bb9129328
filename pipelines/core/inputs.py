"""Open the files that a user names: a pipe that nobody writes to, or a device, would never end."""

from __future__ import annotations

import stat
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError

MAX_BYTES = 2**31
"""Largest file that is read whole; annotations of the largest public data sets take a quarter."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the file begins that stands for another one where `git lfs pull` was not run."""


def is_there(path: Path) -> bool:
    """Whether a path that somebody else wrote names anything, however odd it is."""
    try:
        return path.exists()
    except PermissionError:
        return True  # whoever opens it says why it cannot be read
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def require_file(path: Path, hint: str = "") -> None:
    """Check that a path names a regular file, or a link to one.

    Args:
        path: The file.
        hint: What to give in place of a pipe or a device.

    Raises:
        InputMissing: If there is nothing.
        KaleidoError: If it is a folder, FIFO, socket or device (``bad-data``).
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissing(str(path), "there is no such file.") from error
    except (OSError, ValueError) as error:
        raise KaleidoError(str(path), f"it cannot be read ({error}).", code="bad-data") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise KaleidoError(str(path), f"it is {kind}, not a file.", hint, "bad-data")


def read_file(path: Path, hint: str = "") -> bytes:
    """Return the bytes of a file that a user names.

    Raises:
        InputMissing: If there is nothing.
        KaleidoError: If it is no regular file, larger than `MAX_BYTES`, or cannot be read
            (``bad-data``).
    """
    require_file(path, hint)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = f"it cannot be read ({error.strerror})."
        raise KaleidoError(str(path), why, code="bad-data") from error
    if len(data) > MAX_BYTES:
        raise KaleidoError(str(path), f"it is over {MAX_BYTES // 2**30} GiB.", code="bad-data")
    return data
