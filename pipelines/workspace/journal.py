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
from pipelines.core.files import atomic_write
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
        self._open: dict[str, list[int]] = _read(path)
        self._remove_temporaries()

    def owns(self, shard: Path) -> bool:
        """Whether the files of a shard were written by us."""
        return shard.stem in self._open or is_claimed(shard)

    def begin(self, shards: Iterable[Path]) -> None:
        """Note that shards are about to be written or removed.

        Raises:
            KaleidoError: If a file in the way is not ours (``would-overwrite``).
        """
        shards = list(shards)
        foreign = [file for shard in shards if not self.owns(shard) for file in _files(shard)]
        if foreign:
            names = ", ".join(file.name for file in foreign)
            raise KaleidoError(
                str(self._folder),
                f"it holds {names}, which no manifest of Kaleido names.",
                "Move what is yours to another folder, and delete what an older version left.",
                "would-overwrite",
            )
        for shard in shards:
            pids = self._open.setdefault(shard.stem, [])
            if os.getpid() not in pids:
                pids.append(os.getpid())
        self._write()

    def end(self, shard: Path) -> None:
        """Note that a shard is finished: it has a manifest, or is gone."""
        self._open.pop(shard.stem, None)
        self._write()

    def remove(self, shard: Path) -> None:
        """Remove a shard of ours."""
        self.begin([shard])
        for suffix in SUFFIXES:
            shard.with_suffix(suffix).unlink(missing_ok=True)
        self.end(shard)

    def unfinished(self) -> list[Path]:
        """Return the shards that an earlier run began and did not finish."""
        return [self._folder / f"{stem}.tar" for stem in sorted(self._open)]

    def _remove_temporaries(self) -> None:
        for stem, pids in self._open.items():
            for pid in pids:
                for suffix in SUFFIXES:
                    (self._folder / f"{stem}{suffix}.{pid}.tmp").unlink(missing_ok=True)

    def _write(self) -> None:
        if self._open:
            atomic_write(self._path, json.dumps(self._open, sort_keys=True).encode())
        else:
            self._path.unlink(missing_ok=True)


def is_claimed(shard: Path) -> bool:
    """Whether a manifest of ours lies beside a shard, which itself may be missing."""
    try:
        values = json.loads(shard.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) >= _REQUIRED and set(values) <= _FIELDS


def _files(shard: Path) -> list[Path]:
    files = (shard.with_suffix(suffix) for suffix in SUFFIXES)
    return [file for file in files if os.path.lexists(file)]


def _read(path: Path) -> dict[str, list[int]]:
    """Read a journal; one that is damaged names nothing, so that nothing is removed."""
    try:
        values = json.loads(path.read_bytes())
        return {
            stem: [int(pid) for pid in pids]
            for stem, pids in values.items()
            if _STEM.fullmatch(stem)
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
