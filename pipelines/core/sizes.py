"""Sizes on disk and in memory."""

from __future__ import annotations

from pathlib import Path


def bytes_in(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; 0 if there is nothing.

    Links count as themselves, not as their targets: removing a link frees no more.
    """
    return sum(
        file.stat(follow_symlinks=False).st_size
        for file in (path, *path.rglob("*"))
        if file.is_symlink() or file.is_file()
    )


def format_bytes(count: int) -> str:
    """Write a number of bytes with a decimal unit: ``1.2 GB``."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"
