"""Numbers of bytes: as people write them, and on disk."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.core.errors import KaleidoError

_FORM = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<prefix>[kmgt]?)(?P<binary>i?)b?", re.IGNORECASE)
_PREFIXES = ("", "k", "m", "g", "t")


def parse_bytes(text: str, what: str) -> int:
    """Read a number of bytes: ``50GB`` is 50 · 1000³, ``1.5 GiB`` 1.5 · 1024³, ``800`` bytes.

    Args:
        text: What a person wrote.
        what: What an error calls it.

    Raises:
        KaleidoError: If it has another form, or is less than a byte.
    """
    match = _FORM.fullmatch(text.strip())
    size = 0
    if match is not None:
        base = 1024 if match["binary"] else 1000
        size = int(float(match["number"]) * base ** _PREFIXES.index(match["prefix"].lower()))
    if size < 1:
        raise KaleidoError(what, f"{text!r} is no number of bytes.", "Write one like 50GB.")
    return size


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
