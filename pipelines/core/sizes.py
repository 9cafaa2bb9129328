"""Sizes on disk."""

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
