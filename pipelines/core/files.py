"""Atomic writes: readers see the old bytes or the new ones, never a mixture.

Temporary and replaced files carry a name that nothing else has (`TEMPORARY`), so leftovers of
killed runs can be removed without touching files of the user.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pipelines.core.errors import KaleidoError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota, and a file of the largest possible size."""

TEMPORARY = re.compile(
    r"\.(?P<target>.+)\.kaleido-(?P<kind>tmp|old)-[0-9a-f]{8}-[0-9]+-[0-9a-f]{8}"
)
"""Names of unfinished (``tmp``) and replaced (``old``) files and folders."""

METADATA = "kaleido.json"
"""Metadata beside a model's weights; written last, so it marks a folder as complete."""

FILE_LIST = ".kaleido-files.json"
"""Names the files that `replacing_folder` wrote; all others in the folder are the user's."""

_USUAL_NAMES = re.compile(
    r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?"
    r"|(ema|optimizer|buffers)\.safetensors|state\.json|events\.out\.tfevents\..+"
)
"""Files of models, checkpoints and logs, which older versions wrote without keeping a list."""


def temporary_path(path: Path, kind: Literal["tmp", "old"] = "tmp") -> Path:
    """Return a new name beside `path` that matches `TEMPORARY`.

    It contains the machine and the process, so runs that share a disk never collide.
    """
    name = os.fsencode(path.name)[:100].decode("utf-8", "ignore") or "file"
    return path.with_name(f".{name}.kaleido-{kind}-{process_name()}")


def final_name(path: str | bytes | os.PathLike[Any]) -> str:
    """Return a path with the names that the temporary files and folders in it are to get."""
    parts = os.fsdecode(path).split(os.sep)
    matches = [(TEMPORARY.fullmatch(part), part) for part in parts]
    return os.sep.join(match["target"] if match else part for match, part in matches)


def process_name() -> str:
    """Return a new name that no other process takes, on this machine or another."""
    return f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def no_space_errors(path: Path) -> Iterator[None]:
    """Turn every error of a full disk into a KaleidoError (``no-space``).

    Libraries in Rust, such as safetensors, raise errors of their own whose text ends in the number
    of the system's error.
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
            final_name(path),
            f"it cannot be written ({os.strerror(number) if number else error}).",
            "Free some space and run again; finished work is kept.",
            "no-space",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`; move it to `path` on success, else remove it.

    Parent folders are created. The file gets the mode of the process's umask, whatever wrote it.

    Raises:
        KaleidoError: If the disk is full (``no-space``); an existing file is left unchanged.
    """
    temporary = temporary_path(path)
    try:
        with no_space_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            mode = _mode(temporary)
            yield temporary
            _sync(temporary, mode)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; put it in place of `path` on success, else remove it.

    Files in `path` that Kaleido did not write are kept. If `path` is a link, the folder that it
    points to is replaced. `path` is missing for the moment between two renames; if the process is
    killed just then, `recover_folder` finds the old folder.

    Raises:
        KaleidoError: If `path` was not written by Kaleido, or one of the new files would replace
            one of the user's (``would-overwrite``); or if the disk is full (``no-space``).
    """
    check_replaceable(path)
    target = path.resolve() if path.is_symlink() else path
    fresh, old = temporary_path(target), temporary_path(target, "old")
    try:
        with no_space_errors(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.mkdir()
            yield fresh
            written = _files_in(fresh)
            if target.exists():
                _copy_foreign(target, fresh, written)
            (fresh / FILE_LIST).write_text(json.dumps(written, indent=0), "utf-8")
            mode = _mode(fresh / FILE_LIST)
            for name in written:
                _sync(fresh / name, mode)
            if target.exists():
                target.rename(old)
            try:
                fresh.rename(target)
            except OSError:
                recover_folder(target)
                raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes `path` on success, and is removed otherwise.

    Raises:
        KaleidoError: If `path` exists and is not empty (``would-overwrite``), or the disk is full
            (``no-space``).
    """
    require_new(path)
    temporary = temporary_path(path)
    try:
        with no_space_errors(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                path.rmdir()  # an empty folder, which not every system replaces
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(folder: Path) -> None:
    """Check that a folder does not exist, or is empty.

    Raises:
        KaleidoError: If the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KaleidoError(
            str(folder),
            "it exists already.",
            "Choose another --name or --out, or delete it.",
            code="would-overwrite",
        )


def require_free(path: Path) -> None:
    """Check that nothing has the name of a file that a command is to write.

    Raises:
        KaleidoError: If something has (``would-overwrite``).
    """
    if os.path.lexists(path):
        raise KaleidoError(
            str(path), "it exists already.", "Choose another name, or delete it.", "would-overwrite"
        )


def remove_folder(path: Path) -> None:
    """Remove the files that `replacing_folder` wrote, and the folder if nothing else is in it.

    A folder that keeps files of the user's can still be replaced.
    """
    recover_folder(path)
    if not is_real(path) or not path.is_dir():
        return
    for name in own_files(path):
        (path / name).unlink()
    for folder in sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True):
        _remove_if_empty(folder)
    _remove_if_empty(path)
    if path.exists():
        (path / FILE_LIST).write_text("[]", "utf-8")


def check_replaceable(path: Path) -> None:
    """Raise KaleidoError unless `path` is free, empty, or a folder that Kaleido wrote.

    Training calls this before it starts, since a refusal after hours would be too late.
    """
    if not os.path.lexists(path) or (path.is_symlink() and not path.exists()):
        return
    why = "it is a file, or a link to one."
    if path.is_dir():
        known = (path / FILE_LIST).is_file() or (path / METADATA).is_file()
        if known or all(_USUAL_NAMES.fullmatch(Path(name).name) for name in _files_in(path)):
            return
        why = "it is not empty and was not written by Kaleido."
    raise KaleidoError(str(path), why, "Move it away, or choose another name.", "would-overwrite")


def recover_folder(path: Path) -> None:
    """Rename the replaced folder back if a kill left `path` missing; call it under the lock."""
    if os.path.lexists(path) or not path.parent.is_dir():
        return
    for left in sorted(path.parent.iterdir()):
        match = TEMPORARY.fullmatch(left.name)
        if match and match["kind"] == "old" and match["target"] == path.name and is_real(left):
            left.rename(path)
            return


def remove_leftovers(folder: Path, of: Callable[[Path], bool] = lambda target: True) -> None:
    """Remove the temporary files that killed runs left in `folder`; call it under the lock.

    Args:
        folder: It need not exist.
        of: Whether to remove those that were to become a file.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if not (match and match["kind"] == "tmp" and of(path.with_name(match["target"]))):
            continue
        if path.is_file() and is_real(path):
            path.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, creating parent folders."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_real(path: Path) -> bool:
    """Return whether `path` is neither a symbolic link nor a junction of Windows."""
    return os.path.realpath(path) == os.path.join(os.path.realpath(path.parent), path.name)


@cache
def _machine() -> str:
    """Return a short hash of host and boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()}/{boot}".encode()).hexdigest()[:8]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _sync(path: Path, mode: int) -> None:
    with path.open("rb+") as file:  # Windows syncs only files that are open for writing
        os.fsync(file.fileno())
    path.chmod(mode)


def _files_in(folder: Path) -> list[str]:
    """List the files and links in a folder, as relative paths with slashes."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def own_files(folder: Path) -> list[str]:
    """List the files in a folder that Kaleido wrote."""
    found = _files_in(folder)
    try:
        names = {FILE_LIST, *map(str, json.loads((folder / FILE_LIST).read_text("utf-8")))}
    except (OSError, ValueError, TypeError, RecursionError):
        return [name for name in found if _USUAL_NAMES.fullmatch(Path(name).name)]
    return [name for name in found if name in names]


def _copy_foreign(folder: Path, fresh: Path, written: list[str]) -> None:
    """Copy the user's own files from `folder` into the one that replaces it."""
    own, listed = set(own_files(folder)), (folder / FILE_LIST).is_file()
    for name in _files_in(folder):
        if name in own or (name in written and not listed):
            continue
        if name in written:
            raise KaleidoError(
                str(folder / name),
                "Kaleido did not write it, and it is in the way.",
                "Move it away and run again.",
                "would-overwrite",
            )
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, fresh / name, follow_symlinks=False)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
