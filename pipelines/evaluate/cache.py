"""Finished cells on disk, so that an interrupted evaluation continues where it was."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.files import atomic_write, remove_leftovers
from pipelines.core.fingerprint import fingerprint
from pipelines.core.progress import Progress
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.evaluate.observe import Cell

VERSION = 3
"""Version of what is drawn, computed and written in a cell.

Raise it whenever sampling, features, verdicts, adherence or the fields of a cell change, so that
cells of earlier versions are computed again. A test compares one small cell with recorded values.
"""


class CellStore:
    """The cells of one report in a folder, each named by a fingerprint of all it depends on.

    Attributes:
        reused: Cells that were there already.
        made: Cells that were computed.
    """

    def __init__(self, folder: Path, common: Mapping[str, Any], progress: Progress) -> None:
        """Open the folder; the caller holds its lock.

        Args:
            folder: Where the cells are kept.
            common: JSON values that all cells depend on.
            progress: Told of files that cannot be read.
        """
        self.reused = self.made = 0
        self._folder, self._progress = folder, progress
        self._common = fingerprint(dict(common), VERSION)
        self._wanted: set[Path] = set()
        remove_leftovers(folder)

    def get(
        self, name: str, metadata: Mapping[str, Any], make: Callable[[], Cell]
    ) -> tuple[Cell, bool]:
        """Return a cell, computed and saved if it is not there, and whether it was there.

        Args:
            name: A readable start of the file's name.
            metadata: JSON values that this cell depends on, besides the common ones.
            make: Computes the cell.
        """
        mark = fingerprint(self._common, dict(metadata))
        path = self._folder / f"{name}-{mark[:16]}.npz"
        self._wanted.add(path)
        if path.is_file():
            try:
                cell = decode_cell(path.read_bytes())
                self.reused += 1
                return cell, True
            except ValueError as error:
                self._progress.message(f"{path} is damaged ({error}); it is computed again.")
        cell = make()
        atomic_write(path, encode_cell(cell))
        self.made += 1
        return cell, False

    def prune(self) -> None:
        """Remove cells that were not used: those of earlier models or settings."""
        # Only names that `get` gives: a user's own arrays stay.
        for path in set(self._folder.glob(f"*-{'[0-9a-f]' * 16}.npz")) - self._wanted:
            path.unlink()


def encode_cell(cell: Cell) -> bytes:
    """Write a cell as npz: arrays, and one of UTF-8 bytes that are JSON."""
    texts = {"z": cell.z, "verdicts": [[asdict(v) for v in group] for group in cell.verdicts]}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        features=cell.features,
        edges=cell.edges,
        colours=cell.colours,
        ids=cell.ids,
        plain=cell.plain,
        tints=cell.tints,
        shown=cell.shown,
        json=np.frombuffer(json.dumps(texts).encode(), np.uint8),
    )
    return buffer.getvalue()


def decode_cell(data: bytes) -> Cell:
    """Undo `encode_cell`.

    Raises:
        ValueError: If the bytes are not a cell.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            texts = json.loads(arrays["json"].tobytes())
            verdicts = [[_verdict(v) for v in group] for group in texts["verdicts"]]
            names = ("edges", "colours", "ids", "shown", "plain", "tints")
            numbers = (arrays[name] for name in names)
            return Cell(arrays["features"], verdicts, texts["z"], *numbers)
    except Exception as error:  # of zip, zlib, numpy's header and JSON, whichever is hit first
        raise ValueError(f"not a cell: {error}") from error


def _verdict(value: Mapping[str, Any]) -> Verdict:
    return Verdict(tuple(map(_found_object, value["objects"])), value["background"])


def _found_object(value: Mapping[str, Any]) -> FoundObject:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return FoundObject(**fields)
