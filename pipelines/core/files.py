"""Writing files so that a reader sees the old bytes or the new ones, never a part."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import KaleidoError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, a user's share of it that is full, and a file of the largest size."""

TEMPORARY = re.compile(r"(?P<target>.+)\.\d+\.(?P<kind>tmp|old)")
"""Names of files and folders that are not finished, or are being replaced."""


@contextmanager
def no_space_errors(path: Path) -> Iterator[None]:
    """Raise KaleidoError ``no-space`` in place of any error of a full disk.

    Libraries in Rust, such as safetensors, raise errors of their own that end in the number of the
    system's error.
    """
    try:
        yield
    except KaleidoError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in FULL and not any(f"(os error {full})" in str(error) for full in FULL):
            raise
        raise KaleidoError(
            str(path),
            f"it cannot be written ({os.strerror(number) if number else error}).",
            "Free some space and run again; what is finished is kept.",
            code="no-space",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success move it to `path`, on an error remove it.

    The process id is in the temporary name, so that a run which was thought dead cannot write into
    the file of its successor. Parent folders are made.

    Raises:
        KaleidoError: If the disk is full; an older file stays as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with no_space_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; on success it takes the place of `path`.

    Between the two renames `path` does not exist; at no time does it hold a part of each.

    Raises:
        KaleidoError: ``no-space``, if the disk is full; an older folder stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f"{path.name}.{os.getpid()}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        with no_space_errors(path):
            yield fresh
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step, making parent folders."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed run left in `folder`; call it under the lock."""
    for path in folder.glob("*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
