"""Rows of images and captions, from wherever they stream, as data shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.core.batches import in_batches
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.data.caption_files import clean_caption
from pipelines.data.convert import attempt, hash_file, plain, read_image, to_record
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class RawRow:
    """A row as it comes.

    Attributes:
        key: The record's key.
        name: What to call the row in errors and in the record.
        image: The encoded image, or the file that holds it.
        caption: UTF-8 bytes or text, not cleaned.
        problem: Why the row cannot be used; empty if it can.
    """

    key: str
    name: str
    image: bytes | Path = b""
    caption: bytes | str = ""
    problem: str = ""

    @classmethod
    def of_cells(cls, key: str, name: str, image: Any, caption: Any, folder: Path) -> RawRow:
        """Make a row of a table's two cells, whatever they hold.

        Args:
            key: The record's key.
            name: What to call the row.
            image: Its bytes, its path, or both as ``{"bytes": …, "path": …}``.
            caption: Text.
            folder: Where relative paths count from.
        """
        if not isinstance(caption, str | bytes):
            return cls(key, name, problem="it has no caption.")
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes):
            return cls(key, name, image, caption)
        if isinstance(image, str) and "://" in image:
            return cls(key, name, problem="its image is an address, and none is fetched.")
        if isinstance(image, str) and image:
            return cls(key, image, folder / image, caption)
        return cls(key, name, problem="it has no image.")


def write_rows(
    workspace: Workspace,
    source: Source,
    kind: str,
    rows: Iterable[RawRow],
    total: int | None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write a stream of rows as data shards of ``data.shard_size``.

    Encoded images that the rows hold themselves are in memory for up to two shards at a time.
    The stream is read whole every time, and each shard's rows are hashed: one whose rows are as
    before is skipped, whatever else has changed.

    Args:
        workspace: Where to write.
        source: What makes the rows.
        kind: The ``source`` that records name.
        rows: Read once, in order; their keys differ.
        total: How many there are, or None.
        overwrite: Replace data of another source.
        progress: Listener.

    Raises:
        KaleidoError: If `data/` holds other data and `overwrite` is false.
    """
    settings = workspace.settings.data
    plans = (
        ShardPlan([_hash(row) for row in part], len(part), partial(_rows, part, kind, settings))
        for part in in_batches(rows, settings.shard_size)
    )
    return write_data(workspace, source, plans, total, overwrite, progress)


def find_column(where: str, known: Sequence[str], names: Sequence[str]) -> str:
    """Return the first of `names` that is one, and only one, of the known columns.

    Raises:
        KaleidoError: If there is none; names `where` the columns are.
    """
    for name in names:
        if known.count(name) == 1:
            return name
    raise KaleidoError(
        where,
        f"it has none of the columns {', '.join(names)}, or two of a name.",
        f"It has: {', '.join(known)}. Name yours with --image-column and --caption-column.",
    )


def _hash(row: RawRow) -> list[str]:
    caption = row.caption if isinstance(row.caption, bytes) else repr(row.caption).encode()
    image = (
        hash_file(row.image)
        if isinstance(row.image, Path)
        else hashlib.sha256(row.image).hexdigest()
    )
    words = hashlib.sha256(caption).hexdigest()
    return [row.key, plain(row.name), plain(row.problem), image, words]


def _rows(part: Sequence[RawRow], kind: str, settings: DataSettings) -> Iterator[Row]:
    for row in part:
        yield attempt(row.key, row.name, partial(_record, row, kind, settings))


def _record(row: RawRow, kind: str, settings: DataSettings) -> Record:
    if row.problem:
        raise BadRecord(row.name, row.problem)
    caption = clean_caption(row.caption, row.name, settings.max_caption)
    image = read_image(row.image) if isinstance(row.image, Path) else row.image
    return to_record(row.key, row.name, image, caption, kind, settings)
