"""The journal of a folder of shards, which lists the shards that a run is writing.

A shard without a manifest may be left over from a killed run, or a tar file of the user. Only the
journal distinguishes them, so files that neither a manifest nor the journal lists are never removed
or replaced.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
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
    """A list on disk of the shards that are being written, which survives a kill.

    The caller must hold the lock of the folder.

    Args:
        folder: The folder of the shards.
        path: The journal file, outside of `folder`.
        others: Journals of earlier runs over other parts of the folder; they are only read.
        of: Whether temporary files that were to become a file may be removed.
    """

    def __init__(
        self,
        folder: Path,
        path: Path,
        others: Iterable[Path] = (),
        of: Callable[[Path], bool] = lambda target: True,
    ) -> None:
        self._folder, self._path = folder, path
        self._open = _read(path)
        self._known = self._open.union(*map(_read, others))
        remove_leftovers(folder, of)

    def owns(self, shard: Path) -> bool:
        """Return whether Kaleido wrote the files of a shard."""
        return shard.stem in self._open | self._known or is_claimed(shard)

    def check(self, shards: Iterable[Path]) -> None:
        """Check that no file of the user has the name of a file of these shards.

        Raises:
            KaleidoError: If one has (``would-overwrite``).
        """
        _refuse_foreign(self._folder, shards, self.owns)

    def begin(self, shards: Iterable[Path]) -> None:
        """Record that shards are about to be written or removed.

        Raises:
            KaleidoError: If a file of the user is in the way (``would-overwrite``).
        """
        shards = list(shards)
        self.check(shards)
        self._open.update(shard.stem for shard in shards)
        self._write()

    def end(self, *shards: Path) -> None:
        """Record that shards are finished: each has a manifest or was removed."""
        self._open.difference_update(shard.stem for shard in shards)
        self._write()

    def remove(self, shard: Path) -> None:
        """Remove a shard that Kaleido wrote."""
        self.begin([shard])
        for file in shard_files(shard):
            file.unlink(missing_ok=True)
        self.end(shard)

    def unfinished(self) -> list[Path]:
        """Return the shards that an earlier run started but did not finish."""
        return _shards(self._folder, self._open)

    def _write(self) -> None:
        if self._open:
            atomic_write(self._path, json.dumps(sorted(self._open)).encode())
        else:
            self._path.unlink(missing_ok=True)


def unfinished_shards(folder: Path, path: Path) -> list[Path]:
    """Return `Journal.unfinished` without changing any file."""
    return _shards(folder, _read(path))


def check_foreign(folder: Path, journals: Iterable[Path], shards: Iterable[Path]) -> None:
    """Check what `Journal.check` checks, without changing any file.

    Args:
        folder: The folder of the shards.
        journals: Journal files of all runs over it; they need not exist.
        shards: The shards that a run would write.

    Raises:
        KaleidoError: If a file of the user has the name of one of theirs (``would-overwrite``).
    """
    known = set[str]().union(*map(_read, journals))
    _refuse_foreign(folder, shards, lambda shard: shard.stem in known or is_claimed(shard))


def _refuse_foreign(folder: Path, shards: Iterable[Path], owns: Callable[[Path], bool]) -> None:
    foreign = [file for shard in shards if not owns(shard) for file in shard_files(shard)]
    if foreign:
        names = ", ".join(file.name for file in foreign)
        raise KaleidoError(
            str(folder),
            f"it contains {names}, which Kaleido has no record of writing.",
            "Move your own files to another folder, and delete those of an older version.",
            "would-overwrite",
        )


def is_claimed(shard: Path) -> bool:
    """Return whether a shard, which may be missing, has a manifest of Kaleido."""
    try:
        values = json.loads(shard.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) >= _REQUIRED and set(values) <= _FIELDS


def shard_files(shard: Path) -> list[Path]:
    """Return the existing files of a shard, the manifest first."""
    files = (shard.with_suffix(suffix) for suffix in SUFFIXES)
    return [file for file in files if os.path.lexists(file)]


def _shards(folder: Path, stems: Iterable[str]) -> list[Path]:
    return [folder / f"{stem}.tar" for stem in sorted(stems)]


def _read(path: Path) -> set[str]:
    """Read a journal; a damaged one is treated as empty, so that nothing is removed."""
    try:
        return {stem for stem in json.loads(path.read_bytes()) if _STEM.fullmatch(stem)}
    except (OSError, ValueError, TypeError, RecursionError):
        return set()
