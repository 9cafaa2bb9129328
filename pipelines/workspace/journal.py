"""The journal of a folder of shards: which shards a run is replacing.

A shard without a manifest may be what a killed run of ours has left, or a tar that somebody else
put there. Only the journal tells them apart, so nothing is removed or replaced that neither a
manifest nor the journal names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write, remove_leftovers
from pipelines.workspace.manifest import Manifest

SUFFIXES = (".json", ".parquet", ".tar")
"""Files of a shard; the manifest is removed first, so that none is left without its tar."""

_STEM = re.compile(r"\d{6,}")
_FIELDS = {item.name for item in fields(Manifest)}
_REQUIRED = {"stage", "version", "fingerprint", "counts", "sha256"}


class Journal:
    """Names the shards that are being written, on disk, so that it outlives a kill.

    Use it under the lock of the folder.

    Args:
        folder: Where the shards lie.
        path: The journal's own file, outside of `folder`.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder, self._path = folder, path
        self._open = _read(path)
        remove_leftovers(folder)

    def owns(self, shard: Path) -> bool:
        """Return whether the files of a shard were written by us."""
        return shard.stem in self._open or is_claimed(shard)

    def begin(self, shards: Iterable[Path]) -> None:
        """Note that shards are about to be written or removed.

        Raises:
            KaleidoError: If a file in the way is not ours (``would-overwrite``).
        """
        shards = list(shards)
        foreign = [file for shard in shards if not self.owns(shard) for file in shard_files(shard)]
        if foreign:
            names = ", ".join(file.name for file in foreign)
            raise KaleidoError(
                str(self._folder),
                f"it holds {names}, which no manifest of Kaleido names.",
                "Move what is yours to another folder, and delete what an older version left.",
                "would-overwrite",
            )
        self._open.update(shard.stem for shard in shards)
        self._write()

    def end(self, shard: Path) -> None:
        """Note that a shard is finished: it has a manifest, or is gone."""
        self._open.discard(shard.stem)
        self._write()

    def remove(self, shard: Path) -> None:
        """Remove a shard of ours."""
        self.begin([shard])
        for file in shard_files(shard):
            file.unlink(missing_ok=True)
        self.end(shard)

    def unfinished(self) -> list[Path]:
        """Return the shards that an earlier run began and did not finish."""
        return _shards(self._folder, self._open)

    def _write(self) -> None:
        if self._open:
            atomic_write(self._path, json.dumps(sorted(self._open)).encode())
        else:
            self._path.unlink(missing_ok=True)


def unfinished_shards(folder: Path, path: Path) -> list[Path]:
    """Return `Journal.unfinished` without touching anything."""
    return _shards(folder, _read(path))


def is_claimed(shard: Path) -> bool:
    """Return whether a manifest of ours lies beside a shard, which itself may be missing."""
    try:
        values = json.loads(shard.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) >= _REQUIRED and set(values) <= _FIELDS


def shard_files(shard: Path) -> list[Path]:
    """Return the files of a shard that exist, the manifest first."""
    files = (shard.with_suffix(suffix) for suffix in SUFFIXES)
    return [file for file in files if os.path.lexists(file)]


def _shards(folder: Path, stems: Iterable[str]) -> list[Path]:
    return [folder / f"{stem}.tar" for stem in sorted(stems)]


def _read(path: Path) -> set[str]:
    """Read a journal; one that is damaged names nothing, so that nothing is removed."""
    try:
        return {stem for stem in json.loads(path.read_bytes()) if _STEM.fullmatch(stem)}
    except (OSError, ValueError, TypeError, RecursionError):
        return set()
