"""SHA-256 of shards, remembered by their size and time of change.

A million pictures are hundreds of gigabytes, which every plan of an extraction would read.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipelines.core.files import atomic_write, sha256_file
from pipelines.workspace.workspace import LOCKS, Workspace

SETTLED = 2.0
"""Seconds after which a change of a file is sure to change its time too, whatever the clock of the
file system."""


class Digests:
    """The SHA-256 of the shards of a workspace.

    Args:
        workspace: The workspace.
        verify: Read every shard, whatever is remembered.
    """

    def __init__(self, workspace: Workspace, verify: bool = False) -> None:
        self._root = workspace.root
        self._path = workspace.root / LOCKS / "digests.json"
        self._known = {} if verify else _read(self._path)
        self._new: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a shard, without reading it if it has not changed."""
        name, state = path.relative_to(self._root).as_posix(), path.stat()
        size, changed, digest = self._known.get(name, (-1, -1, ""))
        if (size, changed) == (state.st_size, state.st_mtime_ns):
            return str(digest)
        found = sha256_file(path)
        if time.time() - state.st_mtime > SETTLED:
            self._new[name] = [state.st_size, state.st_mtime_ns, found]
        return found

    def save(self) -> None:
        """Remember what was read; what other runs have remembered meanwhile stays."""
        if self._new:
            merged = _read(self._path) | self._new
            atomic_write(self._path, json.dumps(merged, indent=0, sort_keys=True).encode())


def _read(path: Path) -> dict[str, list[int | str]]:
    """Read the file; a missing or damaged one is empty."""
    try:
        values = json.loads(path.read_bytes())
        return {
            str(name): [int(size), int(changed), str(digest)]
            for name, (size, changed, digest) in values.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
