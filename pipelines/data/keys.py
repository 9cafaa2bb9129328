"""Unique keys of records, made from paths."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

LENGTH = 60
"""Longest readable part of a key; a hash and the number of a caption may follow."""


class Keys:
    """Makes unique keys from paths: the path itself where it is safe, else with a short hash."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def make(self, name: str, mark: str = "") -> str:
        """Return a key.

        Args:
            name: A path; its suffix is left out.
            mark: If given, the key always has a hash, and this text is what it is made of.
        """
        path = PurePosixPath(name)
        stem = str(path.with_suffix("")) if path.name else name
        ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
        # A word that begins with a dash would be an option on a command line.
        safe = re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_only).lstrip("-")[:LENGTH] or "record"
        key, changed, repeat = safe, bool(mark) or safe != stem, 0
        while changed or key in self._used:
            text = f"{mark or name}\0{repeat}".encode("utf-8", "surrogatepass")
            key = f"{safe}-{hashlib.sha256(text).hexdigest()[:10]}"
            changed, repeat = False, repeat + 1
        self._used.add(key)
        return key
