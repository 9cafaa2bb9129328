"""Sizes on disk."""

from __future__ import annotations

from pathlib import Path


def bytes_in(path: Path, follow_links: bool) -> int:
    """Add up the bytes of a file, or of all files in a folder.

    Args:
        path: The file or folder; nothing there counts 0.
        follow_links: Whether a link to a file counts as the file that it names, or as what the
            link itself takes.
    """
    return sum(
        file.stat(follow_symlinks=follow_links).st_size
        for file in (path, *path.rglob("*"))
        if file.is_file() or (file.is_symlink() and not follow_links)
    )
